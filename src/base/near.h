/* The known word that another is a slip of: for "did you mean". */
#ifndef SNUG_BASE_NEAR_H
#define SNUG_BASE_NEAR_H

/* The word that text is a slip of, at most a third of its letters away, or NULL. */
const char *snug__near_word(const char *text, const char *const *words, int n);

#endif
