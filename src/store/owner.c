/* Who works on a session: boot, process, and when that process started. Together they name one
 * process for ever, so that a session left by kill -9 is told from one that still runs, even when
 * the kernel has given the same process id to another program since. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "store/store_internal.h"

/* Clock ticks from boot to the start of a process, field 22 of /proc/PID/stat (proc(5)); 0 when it
 * cannot be read. Field 2, the name, may hold anything: count from its last bracket. */
static unsigned long long start_ticks(int pid)
{
    char path[48], *text = NULL;
    unsigned long long ticks = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (snug_file_read(path, 4096, &text, NULL, NULL) != SNUG_OK)
        return 0;
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    if (at)
        ticks = strtoull(at, NULL, 10);
    free(text);
    return ticks;
}

static void owner_of(int pid, char out[SNUG__OWNER_MAX])
{
    char *boot = NULL;
    if (snug_file_read("/proc/sys/kernel/random/boot_id", 64, &boot, NULL, NULL) != SNUG_OK)
        boot = NULL;
    if (boot)
        boot[strcspn(boot, "\n")] = '\0';
    snprintf(out, SNUG__OWNER_MAX, "%d %llu %.40s", pid, start_ticks(pid), boot ? boot : "");
    free(boot);
}

void snug__owner_self(char out[SNUG__OWNER_MAX])
{
    owner_of((int)getpid(), out);
}

bool snug__owner_is_other_alive(const char *owner, int *out_pid)
{
    char now[SNUG__OWNER_MAX];
    const long pid = strtol(owner, NULL, 10);
    if (pid <= 0 || pid > INT32_MAX || pid == getpid())
        return false;
    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH)
        return false;
    owner_of((int)pid, now);
    *out_pid = (int)pid;
    return strcmp(now, owner) == 0;
}
