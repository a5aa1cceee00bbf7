/* SPDX-License-Identifier: BSD-2-Clause
 *
 * secret - comparing tokens without telling how much of them was right.
 */
#ifndef MUSTER_SECRET_H
#define MUSTER_SECRET_H

#include "common/slice.h"

#include <stdbool.h>

/* Takes the same time wherever the two differ; the length is not secret.
 * An empty secret equals nothing. */
bool secret_equal(struct slice given, struct slice secret);

/* Whether an Authorization header value is "Bearer <secret>". */
bool secret_check_bearer(struct slice authorization, struct slice secret);

#endif
