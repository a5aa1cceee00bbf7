/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main - the command line of musterd.
 */
#include "common/config.h"
#include "common/contract.h"
#include "common/ipc.h"
#include "common/log.h"
#include "master/master.h"
#include "master/succession.h"
#include "version.h"

#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static void print_help(void)
{
    puts("usage: musterd [-c FILE] [-t | -T]\n"
         "\n"
         "Runs a cluster of muster-worker processes on one port, in the foreground.\n"
         "\n"
         "  -c, --config FILE   read FILE (default: $MUSTER_CONFIG, else " MASTER_CONFIG_PATH "\n"
         "                      if it exists, else built-in defaults)\n"
         "  -t, --test          check the configuration and exit\n"
         "  -T, --print         check it and print what is in force, defaults included\n"
         "  -V, --version       print the version\n"
         "  -h, --help          print this\n"
         "\n"
         "signals: TERM, INT  drain and exit (a second one cuts the drain short)\n"
         "         HUP        check the configuration, then replace the workers one by one\n"
         "         USR1       reopen the log files\n"
         "         USR2       become the musterd that is on disk now, then replace the workers\n"
         "         TTIN, TTOU one worker more, one fewer\n"
         "\n"
         "See musterd(8), muster.conf(5) and musterctl(1).");
}

static int print_config(const struct config *config)
{
    struct buf text;
    buf_init(&text, 0);
    config_print(config, CONFIG_PRINT_PEOPLE, &text);
    bool failed = buf_failed(&text) || fwrite(text.ptr, 1, text.len, stdout) != text.len ||
                  fflush(stdout) != 0;
    buf_fini(&text);
    return failed ? MASTER_EXIT_FAILED : MASTER_EXIT_OK;
}

/* What a careless parent may have left us with: descriptors 0 to 2 closed (a
 * socket would become standard error), SIGCHLD ignored (exit statuses would be
 * lost), signals blocked. */
static void normalise_process(bool keep_mask)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        (void)close(fd);
    (void)signal(SIGCHLD, SIG_DFL);
    if (keep_mask)
        return;
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What this program ran with before another one could not start. */
static struct config *load_document(int fd, const char *path, struct config_errors *errors)
{
    struct buf text;
    buf_init(&text, CONTRACT_MAX_DOCUMENT);
    struct config *config =
        ipc_document_read(fd, &text) == 0 ? config_parse_text(buf_slice(&text), errors) : NULL;
    buf_fini(&text);
    (void)close(fd);
    char *file = path != NULL ? strdup(path) : NULL;
    if (config != NULL && file != NULL) {
        free(config->file);
        config->file = file;
    } else {
        free(file);
    }
    return config;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"test", no_argument, NULL, 't'},
                                            {"print", no_argument, NULL, 'T'},
                                            {"version", no_argument, NULL, 'V'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"upgrade-check", no_argument, NULL, 'u'},
                                            {NULL, 0, NULL, 0}};
    const char *path = NULL;
    bool test = false, print = false, upgrade_check = false;
    int option;
    while ((option = getopt_long(argc, argv, "c:tTVh", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 't':
            test = true;
            break;
        case 'T':
            print = true;
            break;
        case 'u':
            upgrade_check = true;
            break;
        case 'V':
            puts("musterd " MUSTER_VERSION);
            return MASTER_EXIT_OK;
        case 'h':
            print_help();
            return MASTER_EXIT_OK;
        default:
            (void)fprintf(stderr, "Try 'musterd --help'.\n");
            return MASTER_EXIT_USAGE;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "musterd: unexpected argument '%s'. Try 'musterd --help'.\n",
                      argv[optind]);
        return MASTER_EXIT_USAGE;
    }

    struct succession arrival;
    succession_arrive(&arrival);
    normalise_process(arrival.arrived);
    /* Documents come and go: give their memory back, and keep one heap. */
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, 64 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 128 * 1024);
    log_init("master", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    const char *option_path = path;
    path = master_find_config(option_path);
    struct config_errors errors;
    config_errors_init(&errors);
    struct config *config = arrival.failed && arrival.config_fd >= 0
                                ? load_document(arrival.config_fd, path, &errors)
                                : config_load(path, environ, &errors);
    if (config == NULL) {
        (void)fprintf(stderr, "%.*smusterd: the configuration has %d mistake%s\n",
                      (int)errors.text.len, errors.text.len > 0 ? errors.text.ptr : "",
                      errors.count, errors.count == 1 ? "" : "s");
        config_errors_fini(&errors);
        succession_go_back(&arrival, argv, "the configuration is wrong by now");
        return MASTER_EXIT_CONFIG;
    }
    config_errors_fini(&errors);
    int status = MASTER_EXIT_OK;
    if (print) {
        status = print_config(config);
    } else if (test) {
        printf("musterd: the configuration is fine (%s)\n", path != NULL ? path : "defaults");
    } else if (upgrade_check) {
        /* Read by the master that wants to become this program. */
        printf("musterd %s contract %d-%d\n", MUSTER_VERSION, CONTRACT_VERSION_OLDEST,
               CONTRACT_VERSION);
    } else {
        log_init("master", config->log_level, config->log_format);
        char failure[SUCCESSION_TEXT_SIZE] = "";
        const struct master_options run = {.config_path = option_path,
                                           .argv = argv,
                                           .arrival = &arrival,
                                           .failure = failure,
                                           .failure_size = sizeof(failure)};
        status = master_run(&config, &run);
        if (status == MASTER_EXIT_FAILED)
            succession_go_back(&arrival, argv, failure);
    }
    config_free(&config);
    return status;
}
