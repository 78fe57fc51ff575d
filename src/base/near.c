/* The known word that another is a slip of. */
#include "base/near.h"

#include <limits.h>
#include <string.h>

#define NEAR_WORD_MAX 40 /* longer words get no suggestion */

static int min3(int a, int b, int c)
{
    const int ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Edits that turn a into b: insert, delete, replace, swap neighbours.
 * Source: optimal string alignment, Boytsov (2011), sec. 2.1. O(len_a * len_b). */
static int edit_distance(const char *a, const char *b)
{
    const int n = (int)strlen(a), m = (int)strlen(b);
    int d[NEAR_WORD_MAX + 1][NEAR_WORD_MAX + 1];
    if (n > NEAR_WORD_MAX || m > NEAR_WORD_MAX)
        return INT_MAX;
    for (int i = 0; i <= n; i++)
        d[i][0] = i;
    for (int j = 0; j <= m; j++)
        d[0][j] = j;
    for (int i = 1; i <= n; i++) {
        for (int j = 1; j <= m; j++) {
            const int change = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = min3(change, d[i - 1][j] + 1, d[i][j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = min3(d[i][j], d[i - 2][j - 2] + 1, INT_MAX);
        }
    }
    return d[n][m];
}

const char *snug__near_word(const char *text, const char *const *words, int n)
{
    const char *best = NULL;
    int best_distance = INT_MAX;
    for (int i = 0; i < n; i++) {
        const int distance = edit_distance(text, words[i]);
        if (distance < best_distance) {
            best = words[i];
            best_distance = distance;
        }
    }
    /* Further than a third of the word is another word, not a slip. */
    const int allowed = best ? ((int)strlen(best) + 2) / 3 : 0;
    return best_distance <= allowed ? best : NULL;
}
