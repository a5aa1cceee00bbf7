/* SPDX-License-Identifier: BSD-2-Clause
 *
 * loadgen_options - the command line of the load client.
 */
#ifndef MUSTER_LOADGEN_OPTIONS_H
#define MUSTER_LOADGEN_OPTIONS_H

#include "common/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { LOADGEN_EXIT_FAILED = 2, LOADGEN_EXIT_USAGE = 64 };

struct load_options {
    const char *host, *unix_path, *path, *header, *until_file, *ready_file, *source, *expect_body;
    double port, keepalive, churn, rate, new_rate, open_rate, max_open, sources, slow_ms;
    double duration_s, connect_timeout_s, answer_timeout_s, linger_s;
    double expect_status, expect_body_bytes;
    bool series, track, strict, check_idle;
};

static struct load_options options = {
    .host = "127.0.0.1",
    .path = "/",
    .max_open = 4096,
    .sources = 1,
    .slow_ms = 1000,
    .connect_timeout_s = 5,
    .answer_timeout_s = 10,
    .linger_s = 5,
    .expect_status = 200,
    .expect_body_bytes = -1,
};

struct load_option {
    const char *name;
    const char **string;
    double *number;
    bool *flag;
    const char *help;
};

#define STRING_OPTION(name, field, help)                                                           \
    {                                                                                              \
        name, &options.field, NULL, NULL, help                                                     \
    }
#define NUMBER_OPTION(name, field, help)                                                           \
    {                                                                                              \
        name, NULL, &options.field, NULL, help                                                     \
    }
#define FLAG_OPTION(name, field, help)                                                             \
    {                                                                                              \
        name, NULL, NULL, &options.field, help                                                     \
    }

static const struct load_option load_option_table[] = {
    STRING_OPTION("host", host, "IP, numeric (127.0.0.1)"),
    NUMBER_OPTION("port", port, "N"),
    STRING_OPTION("unix", unix_path, "PATH of a Unix socket, instead of --host and --port"),
    STRING_OPTION("path", path, "what to ask for (/)"),
    STRING_OPTION("header", header, "'Name: value', one more line in each request"),
    NUMBER_OPTION("keepalive", keepalive, "N connections, one request after another"),
    NUMBER_OPTION("rate", rate, "R requests per second over all of these (as fast as they go)"),
    NUMBER_OPTION("open-rate", open_rate, "R of them opened per second (all at once)"),
    NUMBER_OPTION("new-rate", new_rate, "R new connections per second, one request each"),
    NUMBER_OPTION("max-open", max_open, "N of these at the same time (4096)"),
    STRING_OPTION("source", source, "IPv4 address to connect from (the kernel's choice)"),
    NUMBER_OPTION("sources", sources, "N addresses, from --source on, in turns (1)"),
    NUMBER_OPTION("churn", churn, "N at a time, each connection for one request"),
    NUMBER_OPTION("duration", duration_s, "seconds (until SIGINT or SIGTERM)"),
    STRING_OPTION("until-file", until_file, "PATH: end when this file exists"),
    STRING_OPTION("ready-file", ready_file,
                  "PATH: made when --keepalive connections were answered"),
    NUMBER_OPTION("expect-status", expect_status, "N (200)"),
    NUMBER_OPTION("expect-body-bytes", expect_body_bytes, "N (anything)"),
    STRING_OPTION("expect-body", expect_body, "TEXT that every body must be (anything)"),
    NUMBER_OPTION("connect-timeout", connect_timeout_s, "seconds (5)"),
    NUMBER_OPTION("answer-timeout", answer_timeout_s, "seconds (10)"),
    NUMBER_OPTION("linger", linger_s, "seconds to wait for the last answers (5)"),
    FLAG_OPTION("track-pid", track, "note local ports, and Muster-Worker, for each failure"),
    FLAG_OPTION("series", series, "print numbers for each second, too"),
    NUMBER_OPTION("slow-ms", slow_ms, "N: list requests that took longer (1000)"),
    FLAG_OPTION("check-idle", check_idle,
                "look whether an idle connection was closed before using it"),
    FLAG_OPTION("strict", strict, "exit with 2 when something failed, or was not even started"),
};

static inline _Noreturn void load_usage(const char *mistake)
{
    FILE *out = mistake == NULL ? stdout : stderr;
    if (mistake != NULL)
        (void)fprintf(out, "loadgen: %s\n", mistake);
    (void)fprintf(out, "usage: loadgen --port N [--keepalive N] [--new-rate R] [--churn N] ...\n");
    for (size_t i = 0; i < ARRAY_COUNT(load_option_table); i++)
        (void)fprintf(out, "  --%-18s %s\n", load_option_table[i].name, load_option_table[i].help);
    exit(mistake == NULL ? 0 : LOADGEN_EXIT_USAGE);
}

static inline void load_read_options(int argc, char **argv)
{
    enum { COUNT = ARRAY_COUNT(load_option_table) };
    struct option long_options[COUNT + 2] = {0};
    for (int i = 0; i < COUNT; i++) {
        bool flag = load_option_table[i].flag != NULL;
        long_options[i] = (struct option){load_option_table[i].name,
                                          flag ? no_argument : required_argument, NULL, 256 + i};
    }
    long_options[COUNT] = (struct option){"help", no_argument, NULL, 'h'};
    int id;
    while ((id = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (id == 'h')
            load_usage(NULL);
        if (id < 256)
            load_usage("that option is not known");
        const struct load_option *option = &load_option_table[id - 256];
        if (option->string != NULL)
            *option->string = optarg;
        if (option->flag != NULL)
            *option->flag = true;
        if (option->number != NULL) {
            char *end;
            *option->number = strtod(optarg, &end);
            if (end == optarg || *end != '\0' || !(*option->number >= 0 && *option->number < 1e9))
                load_usage("an option needs a number");
        }
    }
    if (optind != argc)
        load_usage("there are only options");
    if (options.port <= 0 && options.unix_path == NULL)
        load_usage("--port or --unix is missing");
    if (options.source == NULL && options.sources > 1)
        load_usage("--sources needs --source");
    if (options.sources < 1)
        load_usage("--sources needs at least 1");
    if (options.keepalive < 1 && options.churn < 1 && options.new_rate <= 0)
        load_usage("one of --keepalive, --new-rate and --churn is missing");
}

/* Fills in where to connect to. */
static inline socklen_t load_resolve(struct sockaddr_storage *address)
{
    if (options.unix_path != NULL) {
        struct sockaddr_un *un = (struct sockaddr_un *)address;
        un->sun_family = AF_UNIX;
        if (strlen(options.unix_path) >= sizeof(un->sun_path))
            load_usage("the path of the Unix socket is too long");
        (void)snprintf(un->sun_path, sizeof(un->sun_path), "%s", options.unix_path);
        return sizeof(*un);
    }
    struct sockaddr_in *in = (struct sockaddr_in *)address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)address;
    if (inet_pton(AF_INET, options.host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)options.port);
        return sizeof(*in);
    }
    if (inet_pton(AF_INET6, options.host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)options.port);
        return sizeof(*in6);
    }
    load_usage("--host needs a numeric address");
}

/* Binds a socket to one of the addresses of --source, in turns. Each has all
 * ports of its own towards the server: at thousands of connections a second
 * one address runs out of those that do not rest in TIME_WAIT. The port is
 * chosen by connect(2), which knows the peer, not by bind(2). 0 or -errno. */
static inline int load_bind_source(int fd)
{
    static uint32_t turn;
    struct sockaddr_in in = {.sin_family = AF_INET};
    const int one = 1;
    if (inet_pton(AF_INET, options.source, &in.sin_addr) != 1)
        load_usage("--source needs a numeric IPv4 address");
    in.sin_addr.s_addr = htonl(ntohl(in.sin_addr.s_addr) + turn++ % (uint32_t)options.sources);
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(fd, (const struct sockaddr *)&in, sizeof(in)) == 0 ? 0 : -errno;
}

/* Builds the request; its length. */
static inline size_t load_build_request(bool keepalive, char *out, size_t size)
{
    bool v6 = strchr(options.host, ':') != NULL;
    int len =
        snprintf(out, size, "GET %s HTTP/1.1\r\nHost: %s%s%s\r\n%s%s%s\r\n", options.path,
                 v6 ? "[" : "", options.unix_path != NULL ? "localhost" : options.host,
                 v6 ? "]" : "", options.header != NULL ? options.header : "",
                 options.header != NULL ? "\r\n" : "", keepalive ? "" : "Connection: close\r\n");
    if (len < 0 || (size_t)len >= size)
        load_usage("the request is too long");
    return (size_t)len;
}

#endif
