/* The probe worker: `snug __probe`. Loads ggml's backends, lists devices, measures speeds; one line
 * of JSON on stdout. One word on stdin says what: "devices" or "measure". */
#ifndef SNUG_ENGINE_PROBE_WORKER_H
#define SNUG_ENGINE_PROBE_WORKER_H

int snug__probe_main(void);

#endif
