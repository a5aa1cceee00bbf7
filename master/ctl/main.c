/* SPDX-License-Identifier: BSD-2-Clause
 *
 * musterctl - the command line for people: the management routes as commands.
 */
#include "common/config.h"
#include "common/units.h"
#include "master/ctl/actions.h"
#include "master/ctl/scaling.h"
#include "master/ctl/table.h"
#include "version.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command_entry {
    const char *name;
    const char *argument; /* NULL: takes none; of two words the first is meant literally */
    bool is_change;
    int (*run)(const struct options *options, const char *argument);
    const char *help;
} commands[] = {
    {"status", NULL, false, action_status, "the cluster, its traffic and its workers"},
    {"workers", NULL, false, action_workers, "the workers"},
    {"events", NULL, false, action_events, "what happened last"},
    {"health", NULL, false, action_health, "whether it serves; the exit status says so, too"},
    {"metrics", NULL, false, action_metrics, "everything, as Prometheus reads it"},
    {"scale", "N|auto", true, action_scale, "set the number of workers, or give it back"},
    {"scaling", "replay FILE", false, action_scaling,
     "what the autoscaler would have made of a load"},
    {"restart", "SLOT", true, action_restart, "replace one worker; nothing is dropped"},
    {"reload", NULL, true, action_reload, "check the configuration, then replace every worker"},
    {"upgrade", NULL, true, action_upgrade,
     "become the musterd that is on disk now, then replace every worker"},
    {"drain", NULL, true, action_drain, "finish what is in flight, then end"},
};

/* ---- the command line ---- */

static void print_help(FILE *out)
{
    fputs("Usage: musterctl [OPTION]... COMMAND\n\nCommands:\n", out);
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        fprintf(out, "  %-8s %-11s %s\n", commands[i].name,
                commands[i].argument != NULL ? commands[i].argument : "", commands[i].help);
    fputs("\nOptions:\n"
          "  -j, --json             what the server sends, for programs\n"
          "  -s, --socket PATH      the master's Unix socket (default: muster.sock in\n"
          "                         $MUSTER_RUN_DIR, else in musterd's default run_dir)\n"
          "  -u, --url URL          speak to http://HOST:PORT instead\n"
          "      --token-file FILE  the token for changes over --url (else $MANAGEMENT_TOKEN)\n"
          "  -n, --no-wait          start the change and do not wait for its end\n"
          "  -t, --timeout TIME     how long to wait (default: 10s, changes 20m)\n"
          "      --reason TEXT      why, for the log and the status\n"
          "      --for TIME         with scale N: for this long only, such as 30m\n"
          "  -h, --help             this text\n"
          "  -V, --version          the version\n\n"
          "Exit status: 0 it worked, 1 it was refused or failed, 2 wrong usage,\n"
          "3 the master cannot be reached.\n",
          out);
}

/* The first line of a file, to be freed; NULL after a message. */
static char *read_token(const char *path)
{
    char *line = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        (void)fail("--token-file %s: %s", path, strerror(errno));
        return NULL;
    }
    ssize_t len = getline(&line, &size, file);
    fclose(file);
    if (len > 0)
        line[strcspn(line, "\r\n")] = '\0';
    if (len > 0 && line[0] != '\0')
        return line;
    (void)fail("--token-file %s: its first line is empty", path);
    free(line);
    return NULL;
}

/* Where musterd puts its socket when the configuration does not say. */
static void find_socket(struct options *options)
{
    static const char system_socket[] = "/run/muster/muster.sock";
    char directory[480];
    const char *given = getenv("MUSTER_RUN_DIR");
    bool chosen = given != NULL && given[0] != '\0';
    if (chosen)
        snprintf(directory, sizeof(directory), "%s", given);
    else
        config_default_run_dir(environ, directory, sizeof(directory));
    snprintf(options->socket_path, sizeof(options->socket_path), "%s/muster.sock", directory);
    /* A user without a cluster of his own means that of the system. */
    if (!chosen && access(options->socket_path, F_OK) != 0 && access(system_socket, F_OK) == 0)
        snprintf(options->socket_path, sizeof(options->socket_path), "%s", system_socket);
}

enum { OPTION_TOKEN_FILE = 256, OPTION_REASON, OPTION_FOR };

static const struct option long_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"socket", required_argument, NULL, 's'},
    {"url", required_argument, NULL, 'u'},
    {"token-file", required_argument, NULL, OPTION_TOKEN_FILE},
    {"no-wait", no_argument, NULL, 'n'},
    {"timeout", required_argument, NULL, 't'},
    {"reason", required_argument, NULL, OPTION_REASON},
    {"for", required_argument, NULL, OPTION_FOR},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* -1 to go on, else the exit status. */
static int read_option(struct options *options, int option)
{
    char error[CLIENT_ERROR_SIZE];
    const char *why = "";
    switch (option) {
    case 'j':
        options->json = true;
        return -1;
    case 's':
        snprintf(options->socket_path, sizeof(options->socket_path), "%s", optarg);
        return -1;
    case 'u':
        if (client_parse_url(&options->client, optarg, error))
            return -1;
        return fail_usage("--url %s", error);
    case OPTION_TOKEN_FILE:
        free(options->client.token);
        options->client.token = read_token(optarg);
        return options->client.token != NULL ? -1 : STATUS_USAGE;
    case 'n':
        options->no_wait = true;
        return -1;
    case 't':
        if (units_parse_duration(slice_from_str(optarg), &options->timeout_ms, &why) == 0 &&
            options->timeout_ms > 0)
            return -1;
        return fail_usage("--timeout \"%s\" %s; it must be a duration such as 30s or 2m", optarg,
                          why[0] != '\0' ? why : "is no time at all");
    case OPTION_REASON:
        options->reason = optarg;
        return -1;
    case OPTION_FOR:
        options->hold = optarg;
        return -1;
    case 'h':
        print_help(stdout);
        return STATUS_OK;
    case 'V':
        puts("musterctl " MUSTER_VERSION);
        return STATUS_OK;
    default:
        fputs("Try musterctl --help.\n", stderr);
        return STATUS_USAGE;
    }
}

static const struct command_entry *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int run_command(struct options *options, char **words, int count)
{
    if (count == 0) {
        print_help(stderr);
        return STATUS_USAGE;
    }
    const struct command_entry *command = find_command(words[0]);
    if (command == NULL)
        return fail_usage("there is no command \"%s\"; try musterctl --help", words[0]);
    int wanted = command->argument != NULL ? 2 : 1;
    if (command->argument != NULL && strchr(command->argument, ' ') != NULL) {
        wanted = 3;
        size_t len = strcspn(command->argument, " ");
        if (count > 1 && !slice_equal(slice_from_str(words[1]), slice_from(command->argument, len)))
            return fail_usage("%s needs %s, not \"%s\"", command->name, command->argument,
                              words[1]);
    }
    if (count < wanted)
        return fail_usage("%s needs %s", command->name, command->argument);
    if (count > wanted)
        return fail_usage("%s does not take \"%s\"", command->name, words[wanted]);
    if (!command->is_change && (options->no_wait || options->reason != NULL))
        return fail_usage("%s changes nothing: --no-wait and --reason do not go with it",
                          command->name);
    if (options->hold != NULL && command->run != action_scale)
        return fail_usage("--for goes with scale only");
    return command->run(options, wanted > 1 ? words[wanted - 1] : NULL);
}

int main(int argc, char **argv)
{
    struct options options = {0};
    int option;
    int result = -1;
    colour_init();
    while (result < 0 && (option = getopt_long(argc, argv, "js:u:nt:hV", long_options, NULL)) != -1)
        result = read_option(&options, option);
    if (result < 0) {
        const char *token = getenv("MANAGEMENT_TOKEN");
        if (options.client.token == NULL && token != NULL && token[0] != '\0' &&
            options.client.host[0] != '\0')
            options.client.token = strdup(token);
        if (options.socket_path[0] == '\0')
            find_socket(&options);
        options.client.socket_path = options.socket_path;
        result = run_command(&options, argv + optind, argc - optind);
    }
    free(options.client.token);
    if (fflush(stdout) != 0 && result == STATUS_OK)
        result = fail("standard output: %s", strerror(errno));
    return result;
}
