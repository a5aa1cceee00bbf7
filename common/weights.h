/* SPDX-License-Identifier: BSD-2-Clause
 *
 * weights - "3 1 1": how much each slot can take in relation to the others.
 */
#ifndef MUSTER_WEIGHTS_H
#define MUSTER_WEIGHTS_H

#include "common/check.h"

#include <stdint.h>

enum { WEIGHT_MAX = 256 };

/* Numbers from 1 to WEIGHT_MAX, separated by spaces, for slots 0, 1, … Fills
 * out[count]; slots that are not mentioned get 1. NULL, or what is wrong with
 * the text; `out` may then be half filled. */
MUST_USE const char *weights_parse(const char *text, uint16_t *out, int count);

#endif
