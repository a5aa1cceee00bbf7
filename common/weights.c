/* SPDX-License-Identifier: BSD-2-Clause
 *
 * weights - "3 1 1": how much each slot can take in relation to the others.
 */
#include "common/weights.h"

#include <string.h>

const char *weights_parse(const char *text, uint16_t *out, int count)
{
    int slot = 0;
    for (const char *p = text + strspn(text, " "); *p != '\0'; p += strspn(p, " ")) {
        size_t digits = strspn(p, "0123456789");
        if (digits == 0 || (p[digits] != ' ' && p[digits] != '\0'))
            return "is not a list of whole numbers with spaces between them";
        int weight = 0;
        for (; digits > 0; digits--, p++)
            weight = weight > WEIGHT_MAX ? weight : 10 * weight + (*p - '0');
        if (weight < 1)
            return "has a weight of 0; use fewer workers instead";
        if (weight > WEIGHT_MAX)
            return "has a weight that is too large";
        if (slot == count)
            return "has more weights than there can be workers";
        out[slot++] = (uint16_t)weight;
    }
    while (slot < count)
        out[slot++] = 1;
    return NULL;
}
