/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_print - a configuration as text, and what two of them differ in.
 */
#include "common/config_private.h"

enum { COMMENT_COLUMNS = 90 };

struct printer {
    const struct config *config;
    enum config_print_mode mode;
    struct buf *out;
};

/* ---- comments ---- */

/* Words on lines that begin with `indent` and "# ". */
static void print_comment(const struct printer *printer, const char *indent, struct slice text)
{
    size_t room = COMMENT_COLUMNS - strlen(indent) - 2;
    size_t at = 0;

    while (at < text.len) {
        size_t len = text.len - at;
        if (len > room) {
            const char *space = memrchr(text.ptr + at, ' ', room + 1);
            len = space == NULL ? room : (size_t)(space - (text.ptr + at));
        }
        buf_printf(printer->out, "%s# %.*s\n", indent, (int)len, text.ptr + at);
        at += len;
        while (at < text.len && text.ptr[at] == ' ')
            at++;
    }
}

static void print_key_comment(const struct printer *printer, const char *indent,
                              const struct config_key *key)
{
    struct buf facts;

    print_comment(printer, indent, slice_from_str(key->help));
    buf_init(&facts, 0);
    config_describe_facts(key, &facts);
    print_comment(printer, indent, buf_slice(&facts));
    buf_fini(&facts);
}

/* Where a value came from, behind it. */
static void print_origin(const struct printer *printer, const struct config_key *key, int origin)
{
    if (printer->mode != CONFIG_PRINT_PEOPLE)
        return;
    if (origin == ORIGIN_ENVIRONMENT) {
        buf_printf(printer->out, "  # environment %s", key->env);
    } else if (origin > 0 && printer->config->file[0] != '\0') {
        buf_append_str(printer->out, "  # ");
        config_show(slice_from_str(printer->config->file), printer->out);
        buf_printf(printer->out, ":%d", origin);
    }
}

/* ---- keys and sections ---- */

static void print_key(const struct printer *printer, const char *indent,
                      const struct config_key *key, const void *object, int origin)
{
    struct buf *out = printer->out;

    if (key->kind == KIND_SECRET && printer->mode == CONFIG_PRINT_PEOPLE &&
        config_value_string(key, object)[0] != '\0') {
        buf_printf(out, "%s# %s = (set)", indent, key->name);
    } else {
        buf_printf(out, "%s%s = ", indent, key->name);
        if (config_key_is_string(key))
            config_quote(slice_from_str(config_value_string(key, object)), out);
        else
            config_value_text(key, object, out);
    }
    print_origin(printer, key, origin);
    buf_append_str(out, "\n");
}

static int plain_origin(const struct config *config, int key)
{
    return config->origins == NULL ? ORIGIN_DEFAULT : config->origins->key[key];
}

static void print_section_comment(const struct printer *printer, enum config_section section)
{
    if (printer->mode != CONFIG_PRINT_PEOPLE)
        return;
    struct buf help;
    buf_init(&help, 0);
    buf_append_str(&help, config_section_help[section]);
    buf_append_str(&help, ".");
    if (section != SECTION_TOP)
        buf_append_str(printer->out, "\n");
    print_comment(printer, "", buf_slice(&help));
    buf_fini(&help);
}

static void print_plain_section(const struct printer *printer, enum config_section section)
{
    const char *name = config_section_names[section];
    const char *indent = section == SECTION_TOP ? "" : "    ";

    print_section_comment(printer, section);
    if (section != SECTION_TOP)
        buf_printf(printer->out, "%s {\n", name);
    bool first = true;
    for (int i = 0; i < CONFIG_PLAIN_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        if (strcmp(key->section, name) != 0)
            continue;
        if (printer->mode == CONFIG_PRINT_PEOPLE) {
            if (!first || section == SECTION_TOP)
                buf_append_str(printer->out, "\n");
            print_key_comment(printer, indent, key);
        }
        print_key(printer, indent, key, printer->config, plain_origin(printer->config, i));
        first = false;
    }
    if (section != SECTION_TOP)
        buf_append_str(printer->out, "}\n");
}

/* Whether the key means something next to the others of its section. Those
 * that do not would be refused when the text is read again. */
static bool is_listen_key_shown(const struct config_listen *listen, int key)
{
    bool on_path = listen->path[0] != '\0';

    if (key == KEY_LISTEN_ADDRESS || key == KEY_LISTEN_PORT)
        return !on_path;
    if (key == KEY_LISTEN_PATH || key == KEY_LISTEN_MODE)
        return on_path;
    return true;
}

static bool is_route_key_shown(const struct config_route *route, int key)
{
    return (key == KEY_ROUTE_ROOT) == (route->root[0] != '\0');
}

static void print_title(const struct printer *printer, enum config_section section,
                        const char *title)
{
    buf_printf(printer->out, "%s ", config_section_names[section]);
    config_quote(slice_from_str(title), printer->out);
    buf_append_str(printer->out, " {\n");
}

/* The comments of a key are printed where it is first seen. */
static void print_titled_key(const struct printer *printer, int key, const void *object, int origin,
                             bool *explained)
{
    if (printer->mode == CONFIG_PRINT_PEOPLE && !explained[key]) {
        if (key != KEY_LISTEN_ADDRESS && key != KEY_ROUTE_TEXT)
            buf_append_str(printer->out, "\n");
        print_key_comment(printer, "    ", &config_keys[key]);
        explained[key] = true;
    }
    print_key(printer, "    ", &config_keys[key], object, origin);
}

static void print_listens(const struct printer *printer)
{
    const struct config *config = printer->config;
    bool explained[CONFIG_KEY_COUNT] = {false};

    print_section_comment(printer, SECTION_LISTEN);
    for (int i = 0; i < config->listen_count; i++) {
        const struct config_listen *listen = &config->listens[i];
        print_title(printer, SECTION_LISTEN, listen->name);
        for (int key = KEY_LISTEN_ADDRESS; key < KEY_ROUTE_TEXT; key++) {
            int origin = config->origins == NULL
                             ? ORIGIN_DEFAULT
                             : config->origins->listen[i].key[key - KEY_LISTEN_ADDRESS];
            if (is_listen_key_shown(listen, key))
                print_titled_key(printer, key, listen, origin, explained);
        }
        buf_append_str(printer->out, "}\n");
    }
}

static void print_routes(const struct printer *printer)
{
    const struct config *config = printer->config;
    bool explained[CONFIG_KEY_COUNT] = {false};

    print_section_comment(printer, SECTION_ROUTE);
    for (int i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        print_title(printer, SECTION_ROUTE, route->path);
        for (int key = KEY_ROUTE_TEXT; key < CONFIG_KEY_COUNT; key++) {
            int origin = config->origins == NULL
                             ? ORIGIN_DEFAULT
                             : config->origins->route[i].key[key - KEY_ROUTE_TEXT];
            if (is_route_key_shown(route, key))
                print_titled_key(printer, key, route, origin, explained);
        }
        buf_append_str(printer->out, "}\n");
    }
}

void config_print(const struct config *config, enum config_print_mode mode, struct buf *out)
{
    struct printer printer = {.config = config, .mode = mode, .out = out};

    for (int i = 0; i < CONFIG_SECTION_COUNT; i++) {
        if (!config_section_has_title((enum config_section)i))
            print_plain_section(&printer, (enum config_section)i);
    }
    print_listens(&printer);
    print_routes(&printer);
}

/* ---- comparing ---- */

struct comparison {
    config_on_change *on_change;
    void *context;
    int count;
};

static void shown_value(const struct config_key *key, const void *object, struct buf *out)
{
    if (key->kind == KIND_SECRET)
        buf_append_str(out, config_value_string(key, object)[0] == '\0' ? "(not set)" : "(set)");
    else if (config_key_is_string(key))
        config_quote(slice_from_str(config_value_string(key, object)), out);
    else
        config_value_text(key, object, out);
}

static void report_change(struct comparison *comparison, struct buf *name, struct buf *before,
                          struct buf *after, bool live)
{
    comparison->count++;
    buf_append(name, "", 1);
    buf_append(before, "", 1);
    buf_append(after, "", 1);
    if (comparison->on_change != NULL && !buf_failed(name) && !buf_failed(before) &&
        !buf_failed(after))
        comparison->on_change(comparison->context, name->ptr, before->ptr, after->ptr, live);
    buf_fini(name);
    buf_fini(before);
    buf_fini(after);
}

/* `title` is the name of a listen or route section, NULL for other keys. */
static void compare_key(struct comparison *comparison, int id, const char *title,
                        const void *before, const void *after)
{
    const struct config_key *key = &config_keys[id];
    struct buf name, old, new;

    if (config_value_equal(key, before, after))
        return;
    buf_init(&name, 0);
    buf_init(&old, 0);
    buf_init(&new, 0);
    if (key->section[0] != '\0')
        buf_printf(&name, "%s.", key->section);
    if (title != NULL)
        buf_printf(&name, "%s.", title);
    buf_append_str(&name, key->name);
    shown_value(key, before, &old);
    shown_value(key, after, &new);
    report_change(comparison, &name, &old, &new, key->live);
}

/* A section that only one of the two has. */
static void report_section(struct comparison *comparison, enum config_section section,
                           const char *title, bool appeared, bool live)
{
    struct buf name, old, new;

    buf_init(&name, 0);
    buf_init(&old, 0);
    buf_init(&new, 0);
    buf_printf(&name, "%s.%s", config_section_names[section], title);
    buf_append_str(appeared ? &old : &new, "(absent)");
    buf_append_str(appeared ? &new : &old, "(present)");
    report_change(comparison, &name, &old, &new, live);
}

static const struct config_listen *find_listen(const struct config *config, const char *name)
{
    for (int i = 0; i < config->listen_count; i++) {
        if (strcmp(config->listens[i].name, name) == 0)
            return &config->listens[i];
    }
    return NULL;
}

static const struct config_route *find_route(const struct config *config, const char *path)
{
    for (int i = 0; i < config->route_count; i++) {
        if (strcmp(config->routes[i].path, path) == 0)
            return &config->routes[i];
    }
    return NULL;
}

static void compare_listens(struct comparison *comparison, const struct config *before,
                            const struct config *after)
{
    for (int i = 0; i < before->listen_count; i++) {
        const struct config_listen *old = &before->listens[i];
        const struct config_listen *new = find_listen(after, old->name);
        if (new == NULL) {
            report_section(comparison, SECTION_LISTEN, old->name, false, false);
            continue;
        }
        for (int key = KEY_LISTEN_ADDRESS; key < KEY_ROUTE_TEXT; key++)
            compare_key(comparison, key, old->name, old, new);
    }
    for (int i = 0; i < after->listen_count; i++) {
        if (find_listen(before, after->listens[i].name) == NULL)
            report_section(comparison, SECTION_LISTEN, after->listens[i].name, true, false);
    }
}

static void compare_routes(struct comparison *comparison, const struct config *before,
                           const struct config *after)
{
    for (int i = 0; i < before->route_count; i++) {
        const struct config_route *old = &before->routes[i];
        const struct config_route *new = find_route(after, old->path);
        if (new == NULL) {
            report_section(comparison, SECTION_ROUTE, old->path, false, true);
            continue;
        }
        for (int key = KEY_ROUTE_TEXT; key < CONFIG_KEY_COUNT; key++)
            compare_key(comparison, key, old->path, old, new);
    }
    for (int i = 0; i < after->route_count; i++) {
        if (find_route(before, after->routes[i].path) == NULL)
            report_section(comparison, SECTION_ROUTE, after->routes[i].path, true, true);
    }
}

int config_compare(const struct config *before, const struct config *after,
                   config_on_change *on_change, void *context)
{
    struct comparison comparison = {.on_change = on_change, .context = context};

    for (int key = 0; key < CONFIG_PLAIN_KEYS; key++)
        compare_key(&comparison, key, NULL, before, after);
    compare_listens(&comparison, before, after);
    compare_routes(&comparison, before, after);
    return comparison.count;
}
