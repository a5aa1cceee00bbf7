/* SPDX-License-Identifier: BSD-2-Clause
 *
 * reload_changes - what a reload changes: key, old value, new value.
 *
 * Plain data of a bounded size. Values are as the configuration prints them,
 * secrets as "(set)"; long ones are cut short.
 */
#ifndef MUSTER_RELOAD_CHANGES_H
#define MUSTER_RELOAD_CHANGES_H

#include <stdbool.h>

enum { RELOAD_CHANGES_MAX = 64, RELOAD_KEY_SIZE = 96, RELOAD_VALUE_SIZE = 128 };

struct reload_change {
    char key[RELOAD_KEY_SIZE];
    char from[RELOAD_VALUE_SIZE];
    char to[RELOAD_VALUE_SIZE];
    bool live; /* false: only a restart of the master changes it */
};

struct reload_changes {
    int count;  /* all there are */
    int listed; /* of these, in the list */
    struct reload_change item[RELOAD_CHANGES_MAX];
};

void reload_changes_add(struct reload_changes *changes, const char *key, const char *from,
                        const char *to, bool live);

#endif
