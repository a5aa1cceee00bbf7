/* SPDX-License-Identifier: BSD-2-Clause
 *
 * command - the names of what people can tell the cluster to do.
 */
#include "master/command.h"

#include "common/check.h"

const char *command_kind_name(enum command_kind kind)
{
#define COMMAND_TEXT(name, text) text,
    static const char *const names[] = {COMMAND_KINDS(COMMAND_TEXT)};
#undef COMMAND_TEXT
    CHECK((unsigned)kind < COMMAND_KIND_COUNT);
    return names[kind];
}
