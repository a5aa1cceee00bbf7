/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handshakes - how many TCP handshakes are under way at our listening sockets.
 *
 * They are in no queue that a listening socket tells about, so the kernel's
 * table of sockets is read (/proc/self/net/tcp), which takes a millisecond for
 * some thousand sockets: for the moment before the port closes only.
 */
#ifndef MUSTER_HANDSHAKES_H
#define MUSTER_HANDSHAKES_H

#include "master/listeners.h"

#include <stdbool.h>

/* One line of the table: the local port if it is a handshake that waits for the
 * client's last packet, else 0. Pure. */
unsigned handshakes_parse_line(const char *line);

/* Whether any is under way. False also when the table cannot be read, or is
 * longer than HANDSHAKES_LINES_MAX lines: then nobody waits for the rest. */
enum { HANDSHAKES_LINES_MAX = 200000 };
bool handshakes_pending(const struct listeners *listeners);

#endif
