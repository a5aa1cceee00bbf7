/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_private - what the files of the configuration share with each other,
 * with their tests and with nobody else.
 *
 *   config.c        loading: file, environment, in which order
 *   config_table.c  the table of keys
 *   config_value.c  one value: text to number and back
 *   config_lex.c    text to tokens
 *   config_scan.c   tokens to statements; finds every mistake of form
 *   config_parse.c  statements through libConfuse into struct config
 *   config_check.c  what the keys have to say about each other
 *   config_secret.c the token and the file it may be in
 *   config_print.c  printing and comparing
 *   config_report.c collecting mistakes
 */
#ifndef MUSTER_CONFIG_PRIVATE_H
#define MUSTER_CONFIG_PRIVATE_H

#include "common/config.h"
#include "common/config_keys.h"
#include "common/contract.h"

#include <stdarg.h>
#include <stddef.h>

enum {
    CONFIG_MAX_FILE = 1 << 20, /* bytes */
    CONFIG_MAX_WIRE = 8 << 20, /* what printing makes of a file can be larger */
    CONFIG_MAX_LISTENS = CONTRACT_MAX_GROUPS,
    CONFIG_MAX_ROUTES = 1024,
};

/* ---- the table ---- */

#define CONFIG_ENUM_SECTION(id, name, help) SECTION_##id,
enum config_section { CONFIG_SECTIONS(CONFIG_ENUM_SECTION) CONFIG_SECTION_COUNT };

#define CONFIG_ENUM_KEY(id, section, name, field, kind, standard, min, max, changes, env, choices, \
                        help)                                                                      \
    KEY_##id,
enum config_key_id {
    CONFIG_KEYS(CONFIG_ENUM_KEY) CONFIG_LISTEN_KEYS(CONFIG_ENUM_KEY)
        CONFIG_ROUTE_KEYS(CONFIG_ENUM_KEY) CONFIG_KEY_COUNT
};
enum {
    CONFIG_PLAIN_KEYS = KEY_LISTEN_ADDRESS, /* the keys before it are in struct config */
    CONFIG_LISTEN_KEY_COUNT = KEY_ROUTE_TEXT - KEY_LISTEN_ADDRESS,
    CONFIG_ROUTE_KEY_COUNT = CONFIG_KEY_COUNT - KEY_ROUTE_TEXT,
};

enum config_kind {
    KIND_BOOL,
    KIND_NUMBER,
    KIND_AUTO, /* a number, or "auto", which is 0 */
    KIND_DURATION,
    KIND_SIZE,
    KIND_CHOICE,
    KIND_MODE,
    KIND_TEXT, /* this and all that follow are strings */
    KIND_HEADER,
    KIND_MEDIA_TYPE,
    KIND_PATH,
    KIND_ADDRESS,
    KIND_HOSTS,
    KIND_WEIGHTS,
    KIND_SECRET,
    KIND_USER,
    KIND_GROUP,
};

struct config_key {
    const char *section; /* "" for the top level */
    const char *name;
    const char *standard; /* the default, as text */
    const char *env;      /* "" for none */
    const char *choices;  /* words separated by spaces */
    const char *help;
    int64_t min;
    int64_t max;
    size_t offset; /* in its struct */
    enum config_kind kind;
    char type; /* of the field: 'b'ool, 'i'nt, 'l'ong (int64_t), 'e'num, 's'tring */
    bool live;
};

extern const struct config_key config_keys[CONFIG_KEY_COUNT];
extern const char *const config_section_names[CONFIG_SECTION_COUNT];
extern const char *const config_section_help[CONFIG_SECTION_COUNT];

static inline bool config_section_has_title(enum config_section section)
{
    return section == SECTION_LISTEN || section == SECTION_ROUTE;
}

static inline bool config_key_is_string(const struct config_key *key)
{
    return key->kind >= KIND_TEXT;
}

/* -1: there is none. */
int config_find_key(enum config_section section, struct slice name);
int config_find_section(struct slice name);

/* What was probably meant by an unknown name, as a hint for people
 * ("; did you mean …?"); empty when nothing is near. */
void config_suggest_key(enum config_section section, struct slice name, struct buf *out);
void config_suggest_section(struct slice name, struct buf *out);

/* "a duration from 100ms to 1h, such as 30s": what the key accepts. */
void config_describe(const struct config_key *key, struct buf *out);
/* Its default, what it accepts, its environment variable, and whether a reload
 * is enough to change it: the sentences that the example and the manual have. */
void config_describe_facts(const struct config_key *key, struct buf *out);

/* ---- values ---- */

enum { CONFIG_WHY_SIZE = 128 };

/* Stores the value in `object`, the struct that has the key's field. False:
 * `why` says what is wrong with it, and the field is untouched. */
MUST_USE bool config_value_set(const struct config_key *key, void *object, const char *text,
                               char why[CONFIG_WHY_SIZE]);
/* The value as text that config_value_set() takes, without quotes. */
void config_value_text(const struct config_key *key, const void *object, struct buf *out);
bool config_value_equal(const struct config_key *key, const void *a, const void *b);
int64_t config_value_number(const struct config_key *key, const void *object);
const char *config_value_string(const struct config_key *key, const void *object);

/* Sets every field of `object` whose keys are [first, end) to its default;
 * the object was zeros. False: no memory. */
MUST_USE bool config_object_init(void *object, int first, int end);
void config_object_fini(void *object, int first, int end);

/* ---- origins ---- */

/* A line of the file, or one of these. */
enum {
    ORIGIN_DEFAULT = 0,
    ORIGIN_ENVIRONMENT = -1,
    ORIGIN_UNUSABLE = -2, /* there was a value and a mistake; the field has the default */
};

struct config_listen_origin {
    int line; /* of the section; 0 for the built-in one */
    int key[CONFIG_LISTEN_KEY_COUNT];
};

struct config_route_origin {
    int line;
    int key[CONFIG_ROUTE_KEY_COUNT];
};

struct config_origins {
    int key[CONFIG_PLAIN_KEYS];
    struct config_listen_origin *listen; /* as many as config->listens */
    struct config_route_origin *route;
};

/* ---- loading ---- */

struct config_mistake {
    int line;     /* of the file; 0 for the file as a whole, INT_MAX for the environment */
    int sequence; /* order of discovery, for those of one line */
    char *text;
};

enum { CONFIG_MAX_MISTAKES = 200 };

/* One load under way. */
struct config_loader {
    struct config *config;
    struct config_origins *origins; /* config->origins */
    const char *label;              /* the file's name in messages */
    char *const *environment;
    bool lenient; /* text from another Muster: unknown keys are skipped, nothing is cross-checked */
    bool no_memory;
    struct config_mistake mistakes[CONFIG_MAX_MISTAKES];
    int mistake_count; /* may be larger than the array */
};

/* A key of a section; `instance` counts listen or route sections. */
struct config_place {
    enum config_key_id key;
    int instance;
};

/* "file:line: …"; line 0: "file: …". */
void config_report(struct config_loader *loader, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "environment: …" */
void config_report_environment(struct config_loader *loader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "file:line: key = value: …" about the value in force, or, when `given` is
 * not NULL, about that text. */
void config_report_value(struct config_loader *loader, struct config_place place, int origin,
                         const char *given, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* Hands the mistakes over, in the order of lines. Returns how many. */
int config_report_flush(struct config_loader *loader, struct config_errors *errors);

/* "http.header_timeout", "listen.default.port" */
void config_place_name(const struct config *config, struct config_place place, struct buf *out);
void *config_place_object(struct config *config, struct config_place place);
int *config_place_origin(struct config_loader *loader, struct config_place place);

/* Text for a message: printable, on one line and not long. */
void config_show(struct slice text, struct buf *out);

/* Text in double quotes as the parser reads it back exactly. */
void config_quote(struct slice text, struct buf *out);

/* The value of an environment variable; NULL when unset or empty. */
const char *config_environment_get(char *const *environment, const char *name);

/* A configuration with every key at its default, no listens and no routes;
 * and the listen section that stands in when there is none. */
struct config *config_new(void);
MUST_USE bool config_add_listen(struct config *config, const char *name);
MUST_USE bool config_add_route(struct config *config, const char *path);

/* Stores the value of a key, or reports what is wrong with it. */
void config_assign(struct config_loader *loader, struct config_place place, int origin,
                   const char *text);

/* The steps of loading. */
void config_parse(struct config_loader *loader, struct slice text);
void config_read_token_file(struct config_loader *loader);
void config_check(struct config_loader *loader);

/* Everything after reading the file, as config_load() does it; `label` stands
 * for the file. NULL when there are mistakes. */
struct config *config_load_text(const char *label, struct slice text, char *const *environment,
                                struct config_errors *errors);

/* ---- the scanner ---- */

struct config_statement {
    enum config_section section;
    int instance; /* of listen or route; 0 for others */
    int key;      /* enum config_key_id */
    int line;
    bool usable; /* false: its value is not in `clean` */
};

struct config_scan {
    struct buf clean; /* what is well-formed, in the form that libConfuse reads without surprises */
    struct config_statement *statements;
    int statement_count, statement_capacity;
    int listen_lines[CONFIG_MAX_LISTENS];
    int listen_count;
    int route_lines[CONFIG_MAX_ROUTES];
    int route_count;
};

/* Reports every mistake of form and collects the rest. */
void config_scan(struct config_loader *loader, struct slice text, struct config_scan *out);
void config_scan_fini(struct config_scan *scan);

#endif
