/* SPDX-License-Identifier: BSD-2-Clause
 *
 * reload_changes - what a reload changes: key, old value, new value.
 */
#include "master/reload_changes.h"

#include <stdio.h>
#include <string.h>

/* Never in the middle of a UTF-8 sequence. */
static void copy_shortened(char *out, size_t size, const char *text)
{
    static const char more[] = "...";
    size_t len = strlen(text);
    if (len < size) {
        (void)snprintf(out, size, "%s", text);
        return;
    }
    len = size - sizeof(more);
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    (void)snprintf(out, size, "%.*s%s", (int)len, text, more);
}

void reload_changes_add(struct reload_changes *changes, const char *key, const char *from,
                        const char *to, bool live)
{
    changes->count++;
    if (changes->listed == RELOAD_CHANGES_MAX)
        return;
    struct reload_change *item = &changes->item[changes->listed++];
    copy_shortened(item->key, sizeof(item->key), key);
    copy_shortened(item->from, sizeof(item->from), from);
    copy_shortened(item->to, sizeof(item->to), to);
    item->live = live;
}
