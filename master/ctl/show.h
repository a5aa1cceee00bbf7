/* SPDX-License-Identifier: BSD-2-Clause
 *
 * show - the documents of the management server as people read them.
 *
 * Whatever is missing in a document is shown as nothing or zero: the server
 * may be of another version.
 */
#ifndef MUSTER_CTL_SHOW_H
#define MUSTER_CTL_SHOW_H

#include <jansson.h>

void show_status(const json_t *status);
void show_workers(const json_t *status);
void show_events(const json_t *events);
void show_health(const json_t *health);
/* The answer to a change. */
void show_change(const json_t *change);

#endif
