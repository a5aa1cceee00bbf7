/* SPDX-License-Identifier: BSD-2-Clause
 *
 * accept - what an Accept header says about one media type (RFC 9110 12.5.1).
 */
#ifndef MUSTER_WORKER_ACCEPT_H
#define MUSTER_WORKER_ACCEPT_H

#include "common/slice.h"

enum { ACCEPT_NOT_NAMED = -1 };

/* The largest weight, 0..1000, that is given to exactly this type, whatever
 * its other parameters; wildcards are not it: ACCEPT_NOT_NAMED. Used to choose
 * between representations that a client must ask for by name. */
int accept_weight(struct slice accept, struct slice type);

#endif
