/* SPDX-License-Identifier: BSD-2-Clause
 *
 * command_line - the arguments of muster-worker, which only musterd uses.
 */
#include "common/contract.h"
#include "common/log.h"
#include "worker/crash.h"
#include "worker/worker.h"

#include "version.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

static int usage(const char *reason, const char *value)
{
    fprintf(stderr,
            "muster-worker: %s%s%s\n"
            "usage: muster-worker --slot N --generation G --control PATH\n"
            "musterd starts this program; there is no reason to do it by hand.\n",
            reason, value != NULL ? ": " : "", value != NULL ? value : "");
    return WORKER_EXIT_USAGE;
}

/* False when it is not a whole number from 0 to `max`. */
static int parse_number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value > max)
        return -EINVAL;
    *out = value;
    return 0;
}

int worker_main(int argc, char **argv, route_adder *add_routes)
{
    static const struct option options[] = {
        {"slot", required_argument, NULL, 's'},
        {"generation", required_argument, NULL, 'g'},
        {"control", required_argument, NULL, 'c'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    struct worker_options worker = {.add_routes = add_routes};
    uint64_t slot = UINT64_MAX;
    int id;
    opterr = 0;
    while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (id) {
        case 's':
            if (parse_number(optarg, CONTRACT_MAX_SLOTS - 1, &slot) != 0)
                return usage("--slot is not a slot number", optarg);
            break;
        case 'g':
            if (parse_number(optarg, UINT64_MAX, &worker.generation) != 0)
                return usage("--generation is not a number", optarg);
            break;
        case 'c':
            worker.control_path = optarg;
            break;
        case 'v':
            printf("muster-worker %s\n", MUSTER_VERSION);
            return 0;
        default:
            return usage("unknown or incomplete option", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return usage("unexpected argument", argv[optind]);
    if (slot == UINT64_MAX || worker.control_path == NULL)
        return usage("--slot and --control are needed", NULL);
    worker.slot = (unsigned)slot;

    char name[32];
    snprintf(name, sizeof(name), "muster-w%u", worker.slot);
    (void)prctl(PR_SET_NAME, name, 0, 0, 0);
    snprintf(name, sizeof(name), "worker %u", worker.slot);
    log_init(name, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    crash_install(worker.slot);
    return worker_run(&worker);
}
