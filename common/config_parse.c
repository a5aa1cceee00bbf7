/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_parse - the statements of the file through libConfuse into the
 * configuration.
 *
 * Every key is a string to libConfuse: it decodes quotes, escapes and
 * variables; what the text means as a value is decided by config_value.c, so
 * that a bad value does not end the parsing.
 */
#include "common/config_private.h"

#include <confuse.h>
#include <stdio.h>
#include <stdlib.h>

enum { OPTIONS_MAX = CONFIG_KEY_COUNT + 2 * CONFIG_SECTION_COUNT };

/* libConfuse's error callback has no context of ours; it is not re-entrant
 * either. */
static struct config_loader *current;

__attribute__((format(printf, 2, 0))) static void on_error(cfg_t *cfg, const char *format,
                                                           va_list args)
{
    char text[256];

    (void)vsnprintf(text, sizeof(text), format, args);
    config_report(current, cfg->line, "libConfuse: %s", text);
}

/* Options of one section, then the end mark. Returns how many were written. */
static int add_keys(const char *section, cfg_opt_t *options)
{
    int count = 0;

    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (strcmp(config_keys[i].section, section) != 0)
            continue;
        options[count++] = (cfg_opt_t)CFG_STR(config_keys[i].name, NULL, CFGF_NODEFAULT);
    }
    return count;
}

static cfg_t *new_parser(void)
{
    cfg_opt_t options[OPTIONS_MAX];
    cfg_opt_t *sections[CONFIG_SECTION_COUNT];
    int used = 0;

    for (int i = SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++) {
        sections[i] = &options[used];
        used += add_keys(config_section_names[i], &options[used]);
        options[used++] = (cfg_opt_t)CFG_END();
    }
    cfg_opt_t *top = &options[used];
    used += add_keys("", &options[used]);
    for (int i = SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++) {
        cfg_flag_t flags = config_section_has_title((enum config_section)i)
                               ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES
                               : CFGF_NONE;
        options[used++] = (cfg_opt_t)CFG_SEC(config_section_names[i], sections[i], flags);
    }
    options[used++] = (cfg_opt_t)CFG_END();
    CHECK(used <= OPTIONS_MAX);
    cfg_t *cfg = cfg_init(top, CFGF_NONE);
    if (cfg != NULL)
        cfg_set_error_function(cfg, on_error);
    return cfg;
}

/* The title as it was written, without the number that the scanner gave it. */
static const char *title_of(cfg_t *section)
{
    const char *title = section == NULL ? NULL : cfg_title(section);
    const char *colon = title == NULL ? NULL : strchr(title, ':');
    return colon == NULL ? "" : colon + 1;
}

static bool check_listen_name(struct config_loader *loader, const char *name, int line)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-_";
    size_t len = strlen(name);

    if (len >= 1 && len <= 32 && strspn(name, allowed) == len)
        return true;
    struct buf shown;
    buf_init(&shown, 0);
    config_show(slice_from_str(name), &shown);
    config_report(loader, line,
                  "listen %.*s: is not a good name; 1 to 32 letters, digits, - and _ are one",
                  (int)shown.len, shown.ptr);
    buf_fini(&shown);
    return false;
}

/* A path as it arrives in a request: RFC 3986 3.3 without percent-encoding. */
static const char *find_path_mistake(const char *path)
{
    if (path[0] != '/')
        return "does not start with /; a path such as /hello or /files/ does";
    if (strlen(path) > 1024)
        return "is too long; at most 1024 bytes are taken";
    for (const char *p = path; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-._~!$&'()*+,;=:@/", *p) != NULL;
        if (!plain)
            return "has a character that a path cannot have; letters, digits and "
                   "-._~!$&'()*+,;=:@/ are fine";
        size_t len = p[0] == '/' ? strcspn(p + 1, "/") : 0;
        if ((len == 1 || len == 2) && strspn(p + 1, ".") >= len)
            return "has a . or .. part, which no request has; leave it out";
    }
    return strstr(path, "//") != NULL ? "has an empty part; write one / instead of //" : NULL;
}

static bool check_route_path(struct config_loader *loader, const char *path, int line)
{
    const char *mistake = find_path_mistake(path);

    if (mistake == NULL)
        return true;
    struct buf shown;
    buf_init(&shown, 0);
    config_show(slice_from_str(path), &shown);
    config_report(loader, line, "route %.*s: %s", (int)shown.len, shown.ptr, mistake);
    buf_fini(&shown);
    return false;
}

static void take_listens(struct config_loader *loader, const struct config_scan *scan, cfg_t *cfg)
{
    struct config *config = loader->config;

    for (int i = 0; i < scan->listen_count; i++) {
        const char *name = title_of(cfg_getnsec(cfg, "listen", (unsigned)i));
        int line = scan->listen_lines[i];
        bool good = loader->lenient || check_listen_name(loader, name, line);
        for (int j = 0; j < i && good; j++) {
            if (strcmp(config->listens[j].name, name) == 0)
                config_report(loader, line,
                              "listen %.32s: there is another one of this name on line %d; "
                              "give each a name of its own",
                              name, scan->listen_lines[j]);
        }
        if (!config_add_listen(config, name)) {
            loader->no_memory = true;
            return;
        }
        loader->origins->listen[i].line = line;
    }
}

static void take_routes(struct config_loader *loader, const struct config_scan *scan, cfg_t *cfg)
{
    struct config *config = loader->config;

    for (int i = 0; i < scan->route_count; i++) {
        const char *path = title_of(cfg_getnsec(cfg, "route", (unsigned)i));
        int line = scan->route_lines[i];
        bool good = loader->lenient || check_route_path(loader, path, line);
        for (int j = 0; j < i && good; j++) {
            if (strcmp(config->routes[j].path, path) == 0)
                config_report(loader, line,
                              "route %.64s: there is another one of this path on line %d; "
                              "keep one of them",
                              path, scan->route_lines[j]);
        }
        if (!config_add_route(config, path)) {
            loader->no_memory = true;
            return;
        }
        loader->origins->route[i].line = line;
    }
}

static void take_values(struct config_loader *loader, const struct config_scan *scan, cfg_t *cfg)
{
    for (int i = 0; i < scan->statement_count; i++) {
        const struct config_statement *statement = &scan->statements[i];
        struct config_place place = {.key = (enum config_key_id)statement->key,
                                     .instance = statement->instance};
        if (!statement->usable) {
            *config_place_origin(loader, place) = ORIGIN_UNUSABLE;
            continue;
        }
        cfg_t *section = statement->section == SECTION_TOP
                             ? cfg
                             : cfg_getnsec(cfg, config_section_names[statement->section],
                                           (unsigned)statement->instance);
        const char *text =
            section == NULL ? NULL : cfg_getstr(section, config_keys[statement->key].name);
        if (text != NULL)
            config_assign(loader, place, statement->line, text);
    }
}

void config_assign(struct config_loader *loader, struct config_place place, int origin,
                   const char *text)
{
    const struct config_key *key = &config_keys[place.key];
    char why[CONFIG_WHY_SIZE];

    if (config_value_set(key, config_place_object(loader->config, place), text, why)) {
        *config_place_origin(loader, place) = origin;
        return;
    }
    struct buf accepts;
    buf_init(&accepts, 0);
    config_describe(key, &accepts);
    config_report_value(loader, place, origin, text, "%s; accepted is %.*s", why, (int)accepts.len,
                        accepts.ptr);
    buf_fini(&accepts);
    *config_place_origin(loader, place) = ORIGIN_UNUSABLE;
}

void config_parse(struct config_loader *loader, struct slice text)
{
    struct config_scan scan;
    cfg_t *cfg = NULL;

    const char *nul = text.len == 0 ? NULL : memchr(text.ptr, '\0', text.len);
    if (nul != NULL) {
        int line = 1;
        for (const char *p = text.ptr; p < nul; p++)
            line += *p == '\n' ? 1 : 0;
        config_report(loader, line, "there is a NUL byte; this is not a text file");
        return;
    }
    size_t limit = loader->lenient ? CONFIG_MAX_WIRE : CONFIG_MAX_FILE;
    if (text.len > limit) {
        config_report(loader, 0, "is larger than %zu bytes; a configuration is at most that",
                      limit);
        return;
    }
    config_scan(loader, text, &scan);
    buf_append(&scan.clean, "", 1);
    cfg = buf_failed(&scan.clean) ? NULL : new_parser();
    if (cfg == NULL) {
        loader->no_memory = true;
        goto out;
    }
    current = loader;
    int result = cfg_parse_buf(cfg, scan.clean.ptr);
    current = NULL;
    if (result != CFG_SUCCESS) {
        if (loader->mistake_count == 0) /* it failed without a word */
            loader->no_memory = true;
        goto out;
    }
    take_listens(loader, &scan, cfg);
    take_routes(loader, &scan, cfg);
    if (!loader->no_memory)
        take_values(loader, &scan, cfg);
out:
    if (cfg != NULL)
        cfg_free(cfg);
    config_scan_fini(&scan);
}
