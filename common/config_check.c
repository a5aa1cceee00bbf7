/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_check - what the keys have to say about each other.
 *
 * Keys whose own value was refused are left out: one mistake, one message.
 */
#include "common/config_private.h"

#include <arpa/inet.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ---- keys of struct config ---- */

static struct config_place plain(enum config_key_id key)
{
    return (struct config_place){.key = key};
}

static int origin_of(struct config_loader *loader, enum config_key_id key)
{
    return *config_place_origin(loader, plain(key));
}

static bool usable(struct config_loader *loader, enum config_key_id key)
{
    return origin_of(loader, key) != ORIGIN_UNUSABLE;
}

static int64_t number(const struct config_loader *loader, enum config_key_id key)
{
    return config_value_number(&config_keys[key], loader->config);
}

/* "drain_delay = 10s (line 12)" */
static void append_setting(struct config_loader *loader, struct config_place place, struct buf *out)
{
    int origin = *config_place_origin(loader, place);

    config_place_name(loader->config, place, out);
    buf_append_str(out, " = ");
    config_value_text(&config_keys[place.key], config_place_object(loader->config, place), out);
    if (origin > 0)
        buf_printf(out, " (line %d)", origin);
    else if (origin == ORIGIN_ENVIRONMENT)
        buf_printf(out, " (environment %s)", config_keys[place.key].env);
    else
        buf_append_str(out, " (the default)");
}

/* Reports two keys that do not go together, at the one that somebody set. */
static void report_pair(struct config_loader *loader, enum config_key_id small,
                        enum config_key_id large)
{
    struct buf other;
    bool at_large = origin_of(loader, large) != ORIGIN_DEFAULT;
    enum config_key_id here = at_large ? large : small;

    buf_init(&other, 0);
    append_setting(loader, plain(at_large ? small : large), &other);
    config_report_value(loader, plain(here), origin_of(loader, here), NULL,
                        "does not go with %.*s; accepted is %s that is at least %s", (int)other.len,
                        other.ptr, config_keys[large].name, config_keys[small].name);
    buf_fini(&other);
}

static void check_order(struct config_loader *loader, enum config_key_id small,
                        enum config_key_id large)
{
    if (!usable(loader, small) || !usable(loader, large))
        return;
    int64_t low = number(loader, small), high = number(loader, large);
    bool automatic = (config_keys[small].kind == KIND_AUTO && low == 0) ||
                     (config_keys[large].kind == KIND_AUTO && high == 0);
    if (!automatic && high < low)
        report_pair(loader, small, large);
}

static void check_orders(struct config_loader *loader)
{
    check_order(loader, KEY_MIN_WORKERS, KEY_MAX_WORKERS);
    check_order(loader, KEY_MIN_WORKERS, KEY_WORKERS);
    check_order(loader, KEY_WORKERS, KEY_MAX_WORKERS);
    check_order(loader, KEY_DRAIN_DELAY, KEY_DRAIN_TIMEOUT);
    check_order(loader, KEY_SUSPECT_TIMEOUT, KEY_HANG_TIMEOUT);
    check_order(loader, KEY_STALL_TIMEOUT, KEY_HANG_TIMEOUT);
    check_order(loader, KEY_RESTART_BACKOFF_MIN, KEY_RESTART_BACKOFF_MAX);
    check_order(loader, KEY_HTTP_MAX_LINE_BYTES, KEY_HTTP_MAX_HEADER_BYTES);
    check_order(loader, KEY_MAX_CONNECTIONS, KEY_OPEN_FILES);
}

static void check_accounts(struct config_loader *loader)
{
    const char *user = loader->config->user;
    const char *group = loader->config->group;

    if (user[0] != '\0' && usable(loader, KEY_USER) && getpwnam(user) == NULL)
        config_report_value(loader, plain(KEY_USER), origin_of(loader, KEY_USER), NULL,
                            "there is no such account; accepted is the name of an account of "
                            "this machine");
    if (group[0] != '\0' && usable(loader, KEY_GROUP) && getgrnam(group) == NULL)
        config_report_value(loader, plain(KEY_GROUP), origin_of(loader, KEY_GROUP), NULL,
                            "there is no such group; accepted is the name of a group of this "
                            "machine");
}

/* ---- addresses ---- */

/* What a socket is bound to. "*" and "localhost" mean two of them. */
struct endpoint {
    int family;
    unsigned char address[16];
    int port;
};

enum { ENDPOINTS_MAX = 2 };

static int make_endpoints(const char *address, int port, struct endpoint out[ENDPOINTS_MAX])
{
    const char *v4 = address, *v6 = address;
    int count = 0;

    if (strcmp(address, "*") == 0) {
        v4 = "0.0.0.0";
        v6 = "::";
    } else if (strcmp(address, "localhost") == 0) {
        v4 = "127.0.0.1";
        v6 = "::1";
    }
    memset(out, 0, ENDPOINTS_MAX * sizeof(out[0]));
    out[count].port = port;
    if (inet_pton(AF_INET, v4, out[count].address) == 1)
        out[count++].family = AF_INET;
    if (count == ENDPOINTS_MAX)
        return count;
    out[count].port = port;
    if (inet_pton(AF_INET6, v6, out[count].address) == 1)
        out[count++].family = AF_INET6;
    return count;
}

static bool is_wildcard(const struct endpoint *endpoint)
{
    static const unsigned char zeros[16];
    return memcmp(endpoint->address, zeros, sizeof(zeros)) == 0;
}

static bool is_loopback(const char *address)
{
    static const unsigned char loopback6[16] = {[15] = 1};
    struct endpoint endpoints[ENDPOINTS_MAX];
    int count = make_endpoints(address, 0, endpoints);

    for (int i = 0; i < count; i++) {
        const unsigned char *bytes = endpoints[i].address;
        bool loopback =
            endpoints[i].family == AF_INET ? bytes[0] == 127 : memcmp(bytes, loopback6, 16) == 0;
        if (!loopback)
            return false;
    }
    return true;
}

/* `wide`: an address that means all of them clashes with each of them. Sockets
 * of listen sections share their ports (SO_REUSEPORT), so there it does not. */
static bool clash(const char *address_a, int port_a, const char *address_b, int port_b, bool wide)
{
    struct endpoint a[ENDPOINTS_MAX], b[ENDPOINTS_MAX];
    int count_a = make_endpoints(address_a, port_a, a);
    int count_b = make_endpoints(address_b, port_b, b);

    for (int i = 0; i < count_a; i++) {
        for (int j = 0; j < count_b; j++) {
            if (a[i].family != b[j].family || port_a != port_b)
                continue;
            if (memcmp(a[i].address, b[j].address, sizeof(a[i].address)) == 0 ||
                (wide && (is_wildcard(&a[i]) || is_wildcard(&b[j]))))
                return true;
        }
    }
    return false;
}

/* ---- listen sections ---- */

static int listen_origin(const struct config_loader *loader, int instance, enum config_key_id key)
{
    return loader->origins->listen[instance].key[key - KEY_LISTEN_ADDRESS];
}

static void report_listen(struct config_loader *loader, int instance, enum config_key_id key,
                          const char *reason)
{
    struct config_place place = {.key = key, .instance = instance};
    int origin = listen_origin(loader, instance, key);

    if (origin == ORIGIN_DEFAULT)
        origin = loader->origins->listen[instance].line;
    config_report_value(loader, place, origin, NULL, "%s", reason);
}

static bool listens_on_tcp(const struct config_loader *loader, int instance)
{
    return listen_origin(loader, instance, KEY_LISTEN_PATH) == ORIGIN_DEFAULT ||
           loader->config->listens[instance].path[0] == '\0';
}

static bool tcp_usable(const struct config_loader *loader, int instance)
{
    return listens_on_tcp(loader, instance) &&
           listen_origin(loader, instance, KEY_LISTEN_PATH) != ORIGIN_UNUSABLE &&
           listen_origin(loader, instance, KEY_LISTEN_ADDRESS) != ORIGIN_UNUSABLE &&
           listen_origin(loader, instance, KEY_LISTEN_PORT) != ORIGIN_UNUSABLE;
}

static void check_unix_path(struct config_loader *loader, int instance)
{
    static const char *const own[] = {"control.sock", "muster.sock"};
    const char *path = loader->config->listens[instance].path;
    char run_dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char name[2 * sizeof(run_dir)];

    if (loader->config->run_dir[0] != '\0')
        (void)snprintf(run_dir, sizeof(run_dir), "%s", loader->config->run_dir);
    else
        config_default_run_dir(loader->environment, run_dir, sizeof(run_dir));
    for (size_t i = 0; i < ARRAY_COUNT(own); i++) {
        (void)snprintf(name, sizeof(name), "%s/%s", run_dir, own[i]);
        if (strcmp(path, name) == 0)
            report_listen(loader, instance, KEY_LISTEN_PATH,
                          "is a socket of musterd itself; give another path");
    }
    for (int i = 0; i < instance; i++) {
        if (strcmp(path, loader->config->listens[i].path) == 0)
            report_listen(loader, instance, KEY_LISTEN_PATH,
                          "another listen section has this path, too; give each a path of its "
                          "own");
    }
}

static void check_listen(struct config_loader *loader, int instance)
{
    const struct config_listen *listens = loader->config->listens;

    if (listen_origin(loader, instance, KEY_LISTEN_PATH) == ORIGIN_UNUSABLE)
        return;
    if (!listens_on_tcp(loader, instance)) {
        static const enum config_key_id tcp_keys[] = {KEY_LISTEN_ADDRESS, KEY_LISTEN_PORT};
        for (size_t i = 0; i < ARRAY_COUNT(tcp_keys); i++) {
            if (listen_origin(loader, instance, tcp_keys[i]) > 0)
                report_listen(loader, instance, tcp_keys[i],
                              "does not go with path, which means a Unix socket; keep one of "
                              "them, and use two listen sections for both");
        }
        check_unix_path(loader, instance);
        return;
    }
    if (listen_origin(loader, instance, KEY_LISTEN_MODE) > 0)
        report_listen(loader, instance, KEY_LISTEN_MODE,
                      "means nothing without path; it is the mode of a Unix socket");
    for (int i = 0; i < instance; i++) {
        if (!tcp_usable(loader, i) || !tcp_usable(loader, instance) ||
            !clash(listens[i].address, listens[i].port, listens[instance].address,
                   listens[instance].port, false))
            continue;
        char reason[192];
        (void)snprintf(reason, sizeof(reason),
                       "address %s and this port are taken by listen %.32s (line %d); give each "
                       "an address or a port of its own",
                       listens[instance].address, listens[i].name, loader->origins->listen[i].line);
        report_listen(loader, instance, KEY_LISTEN_PORT, reason);
    }
}

static void check_group_count(struct config_loader *loader)
{
    struct endpoint unused[ENDPOINTS_MAX];
    int groups = 0;

    for (int i = 0; i < loader->config->listen_count; i++) {
        const struct config_listen *listen = &loader->config->listens[i];
        int count =
            listens_on_tcp(loader, i) ? make_endpoints(listen->address, listen->port, unused) : 1;
        groups += count;
        if (groups > CONTRACT_MAX_GROUPS && groups - count <= CONTRACT_MAX_GROUPS)
            config_report(loader, loader->origins->listen[i].line,
                          "listen %.32s: more than %d addresses to listen on; * and localhost "
                          "count twice",
                          listen->name, CONTRACT_MAX_GROUPS);
    }
}

/* ---- management ---- */

static void check_management(struct config_loader *loader)
{
    const struct config *config = loader->config;
    struct buf other;

    if (!config->management_enabled || config->management_address[0] == '\0' ||
        !usable(loader, KEY_MANAGEMENT_ADDRESS))
        return;
    if (config->management_token[0] == '\0' && usable(loader, KEY_MANAGEMENT_TOKEN) &&
        usable(loader, KEY_MANAGEMENT_TOKEN_FILE) && !is_loopback(config->management_address))
        config_report_value(loader, plain(KEY_MANAGEMENT_ADDRESS),
                            origin_of(loader, KEY_MANAGEMENT_ADDRESS), NULL,
                            "others can reach this address and there is no token; set token_file "
                            "or MANAGEMENT_TOKEN, or use 127.0.0.1");

    int origin = origin_of(loader, KEY_MANAGEMENT_PORT);
    for (int i = 0; i < config->listen_count && origin != ORIGIN_UNUSABLE; i++) {
        const struct config_listen *listen = &config->listens[i];
        if (!tcp_usable(loader, i) ||
            !clash(listen->address, listen->port, config->management_address,
                   config->management_port, true))
            continue;
        struct config_place port = {.key = KEY_LISTEN_PORT, .instance = i};
        buf_init(&other, 0);
        if (origin != ORIGIN_DEFAULT) {
            append_setting(loader, port, &other);
            config_report_value(loader, plain(KEY_MANAGEMENT_PORT), origin, NULL,
                                "is the same as %.*s; give each a port of its own", (int)other.len,
                                other.ptr);
        } else {
            append_setting(loader, plain(KEY_MANAGEMENT_PORT), &other);
            config_report_value(loader, port, *config_place_origin(loader, port), NULL,
                                "is the same as %.*s; give each a port of its own", (int)other.len,
                                other.ptr);
        }
        buf_fini(&other);
    }
}

/* ---- routes ---- */

static int route_origin(const struct config_loader *loader, int instance, enum config_key_id key)
{
    return loader->origins->route[instance].key[key - KEY_ROUTE_TEXT];
}

static void report_route(struct config_loader *loader, int instance, enum config_key_id key,
                         const char *reason)
{
    struct config_place place = {.key = key, .instance = instance};
    config_report_value(loader, place, *config_place_origin(loader, place), NULL, "%s", reason);
}

static void check_route(struct config_loader *loader, int instance)
{
    const struct config_route *route = &loader->config->routes[instance];
    int text = route_origin(loader, instance, KEY_ROUTE_TEXT);
    int root = route_origin(loader, instance, KEY_ROUTE_ROOT);
    int type = route_origin(loader, instance, KEY_ROUTE_CONTENT_TYPE);
    int status = route_origin(loader, instance, KEY_ROUTE_STATUS);
    size_t len = strlen(route->path);

    if (text == ORIGIN_DEFAULT && (root == ORIGIN_DEFAULT || (root > 0 && route->root[0] == '\0')))
        config_report(loader, loader->origins->route[instance].line,
                      "route %.64s: has neither text nor root; accepted is one of them",
                      route->path);
    if (text != ORIGIN_DEFAULT && root > 0)
        report_route(loader, instance, KEY_ROUTE_ROOT,
                     "does not go with text; accepted is one of them");
    else if (root > 0 && type > 0)
        report_route(loader, instance, KEY_ROUTE_CONTENT_TYPE,
                     "does not go with root, which knows the types of its files; leave it out");
    else if (root > 0 && status > 0)
        report_route(loader, instance, KEY_ROUTE_STATUS,
                     "does not go with root, where files say it; leave it out");
    if (root > 0 && len > 0 && route->path[0] == '/' && route->path[len - 1] != '/')
        report_route(loader, instance, KEY_ROUTE_ROOT,
                     "is a directory, but the path of the route does not end in /; accepted is a "
                     "path such as /files/");
    struct stat st;
    if (root > 0 && route->root[0] != '\0' && (stat(route->root, &st) != 0 || !S_ISDIR(st.st_mode)))
        report_route(loader, instance, KEY_ROUTE_ROOT,
                     "there is no such directory; accepted is one that exists");
    /* RFC 9110 15.3.5, 15.3.6 and 15.4.5: these answers have no content. */
    if (text > 0 && status > 0 && route->text[0] != '\0' &&
        (route->status == 204 || route->status == 205 || route->status == 304))
        report_route(loader, instance, KEY_ROUTE_STATUS,
                     "an answer with this status has no text; accepted is text = \"\" or another "
                     "status");
}

void config_check(struct config_loader *loader)
{
    if (loader->no_memory)
        return;
    check_orders(loader);
    check_accounts(loader);
    for (int i = 0; i < loader->config->listen_count; i++)
        check_listen(loader, i);
    check_group_count(loader);
    check_management(loader);
    for (int i = 0; i < loader->config->route_count; i++)
        check_route(loader, i);
}
