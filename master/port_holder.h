/* SPDX-License-Identifier: BSD-2-Clause
 *
 * port_holder - who listens on a TCP port, for error messages.
 *
 * Walks /proc, which takes milliseconds: for the start and for errors only.
 */
#ifndef MUSTER_PORT_HOLDER_H
#define MUSTER_PORT_HOLDER_H

#include <stdbool.h>
#include <stddef.h>

/* Writes "pid 123 (nginx)", or "a process of user 33" when its descriptors
 * may not be looked at. False when it cannot be found out. */
bool port_holder_describe(int family, int port, char *out, size_t size);

#endif
