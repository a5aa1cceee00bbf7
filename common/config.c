/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config - loading a configuration: defaults, the file, the environment, the
 * checks, in this order.
 */
#include "common/config.h"

#include "common/config_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the struct ---- */

struct config *config_new(void)
{
    struct config *config = calloc(1, sizeof(*config));

    if (config == NULL)
        return NULL;
    config->file = strdup("");
    config->origins = calloc(1, sizeof(*config->origins));
    if (config->file == NULL || config->origins == NULL ||
        !config_object_init(config, 0, CONFIG_PLAIN_KEYS))
        config_free(&config);
    return config;
}

void config_free(struct config **config)
{
    struct config *c = *config;

    if (c == NULL)
        return;
    for (int i = 0; i < c->listen_count; i++) {
        free(c->listens[i].name);
        config_object_fini(&c->listens[i], KEY_LISTEN_ADDRESS, KEY_ROUTE_TEXT);
    }
    for (int i = 0; i < c->route_count; i++) {
        free(c->routes[i].path);
        config_object_fini(&c->routes[i], KEY_ROUTE_TEXT, CONFIG_KEY_COUNT);
    }
    config_object_fini(c, 0, CONFIG_PLAIN_KEYS);
    if (c->origins != NULL) {
        free(c->origins->listen);
        free(c->origins->route);
    }
    free(c->origins);
    free(c->listens);
    free(c->routes);
    free(c->file);
    free(c);
    *config = NULL;
}

/* Makes room for one more, zeroed. */
static bool grow(void **array, int count, size_t size)
{
    void *larger = reallocarray(*array, (size_t)count + 1, size);

    if (larger == NULL)
        return false;
    *array = larger;
    memset((char *)larger + (size_t)count * size, 0, size);
    return true;
}

bool config_add_listen(struct config *config, const char *name)
{
    int count = config->listen_count;
    void *listens = config->listens, *origins = config->origins->listen;

    bool grown = grow(&listens, count, sizeof(config->listens[0]));
    config->listens = listens;
    grown = grown && grow(&origins, count, sizeof(config->origins->listen[0]));
    config->origins->listen = origins;
    if (!grown)
        return false;
    struct config_listen *listen = &config->listens[count];
    listen->name = strdup(name);
    if (listen->name == NULL || !config_object_init(listen, KEY_LISTEN_ADDRESS, KEY_ROUTE_TEXT)) {
        free(listen->name);
        return false;
    }
    config->listen_count++;
    return true;
}

bool config_add_route(struct config *config, const char *path)
{
    int count = config->route_count;
    void *routes = config->routes, *origins = config->origins->route;

    bool grown = grow(&routes, count, sizeof(config->routes[0]));
    config->routes = routes;
    grown = grown && grow(&origins, count, sizeof(config->origins->route[0]));
    config->origins->route = origins;
    if (!grown)
        return false;
    struct config_route *route = &config->routes[count];
    route->path = strdup(path);
    if (route->path == NULL || !config_object_init(route, KEY_ROUTE_TEXT, CONFIG_KEY_COUNT)) {
        free(route->path);
        return false;
    }
    config->route_count++;
    return true;
}

/* ---- the environment ---- */

const char *config_environment_get(char *const *environment, const char *name)
{
    size_t len = strlen(name);

    for (; environment != NULL && *environment != NULL; environment++) {
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
            return (*environment)[len + 1] == '\0' ? NULL : *environment + len + 1;
    }
    return NULL;
}

/* PORT is for the one section that it can only mean. */
static void apply_port(struct config_loader *loader, const char *value)
{
    const struct config *config = loader->config;
    const struct config_key *key = &config_keys[KEY_LISTEN_PORT];
    int found = 0, instance = 0;

    for (int i = 0; i < config->listen_count; i++) {
        if (config->listens[i].path[0] == '\0') {
            instance = i;
            found++;
        }
    }
    if (found == 1) {
        struct config_place place = {.key = KEY_LISTEN_PORT, .instance = instance};
        config_assign(loader, place, ORIGIN_ENVIRONMENT, value);
        return;
    }
    struct buf shown;
    buf_init(&shown, 0);
    config_show(slice_from_str(value), &shown);
    if (found == 0)
        config_report_environment(loader,
                                  "%s=%.*s: no listen section has a port; unset %s or "
                                  "add a listen section without a path",
                                  key->env, (int)shown.len, shown.ptr, key->env);
    else
        config_report_environment(loader,
                                  "%s=%.*s: there are %d listen sections with a port, so "
                                  "it is not clear which one is meant; unset %s or keep "
                                  "one such section",
                                  key->env, (int)shown.len, shown.ptr, found, key->env);
    buf_fini(&shown);
}

static void apply_environment(struct config_loader *loader)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const char *name = config_keys[i].env;
        const char *value =
            name[0] == '\0' ? NULL : config_environment_get(loader->environment, name);
        if (value == NULL)
            continue;
        if (i == KEY_LISTEN_PORT)
            apply_port(loader, value);
        else
            config_assign(loader, (struct config_place){.key = (enum config_key_id)i},
                          ORIGIN_ENVIRONMENT, value);
    }
}

/* ---- loading ---- */

static bool set_string(char **string, const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL)
        return false;
    free(*string);
    *string = copy;
    return true;
}

static bool set_default(int key, void *object)
{
    char why[CONFIG_WHY_SIZE];
    return config_value_set(&config_keys[key], object, config_keys[key].standard, why);
}

/* Takes out what another key has made meaningless, so that nobody has to look
 * at two keys to know. */
static void normalise(struct config_loader *loader)
{
    struct config *config = loader->config;
    bool done = true;

    if (!config->management_enabled)
        done = set_string(&config->management_address, "");
    for (int i = 0; i < config->listen_count; i++) {
        struct config_listen *listen = &config->listens[i];
        if (listen->path[0] == '\0') {
            done = set_default(KEY_LISTEN_MODE, listen) && done;
        } else {
            done = set_string(&listen->address, "") && done;
            listen->port = 0;
        }
    }
    for (int i = 0; i < config->route_count; i++) {
        struct config_route *route = &config->routes[i];
        for (int key = KEY_ROUTE_TEXT; key < KEY_ROUTE_ROOT && route->root[0] != '\0'; key++)
            done = set_default(key, route) && done;
    }
    loader->no_memory = loader->no_memory || !done;
}

static struct config *finish(struct config_loader *loader, struct config_errors *errors)
{
    if (config_report_flush(loader, errors) != 0)
        config_free(&loader->config);
    return loader->config;
}

static void add_default_listen(struct config_loader *loader)
{
    if (loader->config->listen_count == 0 && !config_add_listen(loader->config, "default"))
        loader->no_memory = true;
}

static bool loader_init(struct config_loader *loader, struct config_errors *errors)
{
    loader->config = config_new();
    if (loader->config == NULL) {
        config_errors_add(errors, "%s: no memory", loader->label);
        return false;
    }
    loader->origins = loader->config->origins;
    return true;
}

/* `file` is what becomes config->file. */
static struct config *load(const char *label, const char *file, struct slice text,
                           char *const *environment, struct config_errors *errors)
{
    struct config_loader loader = {.label = label, .environment = environment};

    if (!loader_init(&loader, errors))
        return NULL;
    loader.no_memory = !set_string(&loader.config->file, file);
    config_parse(&loader, text);
    add_default_listen(&loader);
    apply_environment(&loader);
    config_read_token_file(&loader);
    config_check(&loader);
    normalise(&loader);
    return finish(&loader, errors);
}

struct config *config_load_text(const char *label, struct slice text, char *const *environment,
                                struct config_errors *errors)
{
    return load(label, label, text, environment, errors);
}

struct config *config_parse_text(struct slice text, struct config_errors *errors)
{
    struct config_loader loader = {.label = "configuration", .lenient = true};

    if (!loader_init(&loader, errors))
        return NULL;
    config_parse(&loader, text);
    add_default_listen(&loader);
    normalise(&loader);
    return finish(&loader, errors);
}

/* The content of the file, with one byte more than is allowed at most. NULL:
 * the mistake was added. */
static char *read_file(const char *path, size_t *len, struct config_errors *errors)
{
    char *text = NULL;
    struct stat st;
    /* Not to hang on a FIFO; for files and /dev/null it makes no difference. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) != 0) {
        config_errors_add(errors, "%s: cannot be read: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)) {
        config_errors_add(errors, "%s: %s; a configuration is a regular file", path,
                          S_ISDIR(st.st_mode) ? "is a directory" : "is not a file");
        goto out;
    }
    text = malloc(CONFIG_MAX_FILE + 1);
    if (text == NULL) {
        config_errors_add(errors, "%s: no memory", path);
        goto out;
    }
    *len = 0;
    while (*len < CONFIG_MAX_FILE + 1) {
        ssize_t got = read(fd, text + *len, CONFIG_MAX_FILE + 1 - *len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            config_errors_add(errors, "%s: cannot be read: %s", path, strerror(errno));
            free(text);
            text = NULL;
            goto out;
        }
        if (got == 0)
            break;
        *len += (size_t)got;
    }
out:
    if (fd >= 0)
        (void)close(fd);
    return text;
}

struct config *config_load(const char *path, char *const *environment, struct config_errors *errors)
{
    size_t len = 0;
    char *text = NULL;

    if (path != NULL) {
        text = read_file(path, &len, errors);
        if (text == NULL)
            return NULL;
    }
    struct config *config =
        load(path == NULL ? "built-in configuration" : path, path == NULL ? "" : path,
             slice_from(text == NULL ? "" : text, len), environment, errors);
    free(text);
    return config;
}

/* ---- resolved values ---- */

void config_default_run_dir(char *const *environment, char *out, size_t size)
{
    uid_t uid = geteuid();

    if (uid == 0) {
        (void)snprintf(out, size, "/run/muster");
        return;
    }
    const char *runtime = config_environment_get(environment, "XDG_RUNTIME_DIR");
    if (runtime != NULL && runtime[0] == '/') {
        int len = snprintf(out, size, "%s/muster", runtime);
        if (len > 0 && (size_t)len < size && len <= config_keys[KEY_RUN_DIR].max)
            return;
    }
    (void)snprintf(out, size, "/tmp/muster-%lu", (unsigned long)uid);
}

static int at_least(int value, int least)
{
    return value < least ? least : value;
}

static int at_most(int value, int most)
{
    return value > most ? most : value;
}

int config_max_workers(const struct config *config, int cpu_count)
{
    if (!config->cluster_enabled)
        return 1;
    if (config->max_workers != 0)
        return config->max_workers;
    int automatic = at_least(at_most(cpu_count, CONTRACT_MAX_SLOTS / 2) * 2, 4);
    automatic = at_least(automatic, config->workers);
    return at_least(automatic, config->min_workers);
}

int config_worker_count(const struct config *config, int cpu_count)
{
    if (!config->cluster_enabled)
        return 1;
    int wanted = config->workers != 0 ? config->workers : at_least(cpu_count, 1);
    return at_most(at_least(wanted, config->min_workers), config_max_workers(config, cpu_count));
}
