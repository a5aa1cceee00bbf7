/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main - muster-worker: a worker with no routes but its own.
 */
#include "worker/worker.h"

int main(int argc, char **argv)
{
    return worker_main(argc, argv, NULL);
}
