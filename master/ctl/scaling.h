/* SPDX-License-Identifier: BSD-2-Clause
 *
 * scaling - musterctl scaling: what the autoscaler would do.
 */
#ifndef MUSTER_CTL_SCALING_H
#define MUSTER_CTL_SCALING_H

#include "master/ctl/actions.h"

/* scaling replay FILE; needs no master. An exit status. */
int action_scaling(const struct options *options, const char *argument);

#endif
