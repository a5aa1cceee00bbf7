/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_scan - the statements of the configuration file, and every mistake
 * in their form.
 *
 * libConfuse stops at the first mistake, takes the last of two equal keys,
 * skips characters that it does not know and finds "http|header_timeout" as a
 * key; so it only gets to see what was understood here: each value in quotes,
 * each title with a number before it (which keeps equal titles apart), no
 * comments. What the strings and variables mean is its business alone.
 */
#include "common/config_lex.h"
#include "common/config_private.h"

#include <stdio.h>
#include <stdlib.h>

struct scanner {
    struct config_lexer lexer;
    struct config_loader *loader;
    struct config_scan *out;
    struct config_token next;
    int last_line; /* where the last token taken ended */
    int clean_line;

    enum config_section section;
    int instance;
    int section_line;
    int seen[CONFIG_KEY_COUNT];             /* line of each key in this section, 0: not yet */
    int section_seen[CONFIG_SECTION_COUNT]; /* for sections that there is only one of */
};

static struct config_token take(struct scanner *scanner)
{
    struct config_token token = scanner->next;

    scanner->last_line = token.end_line;
    if (token.kind != TOKEN_END)
        scanner->next = config_lex_next(&scanner->lexer);
    return token;
}

static bool next_is_on_line(const struct scanner *scanner, int line)
{
    return scanner->next.line == line && scanner->next.kind != TOKEN_END;
}

static bool next_is_value(const struct scanner *scanner)
{
    return scanner->next.kind == TOKEN_WORD || scanner->next.kind == TOKEN_STRING ||
           scanner->next.kind == TOKEN_VARIABLE;
}

/* Behind a {: to its }, whatever is between. */
static void skip_block(struct scanner *scanner, int line)
{
    int depth = 1;

    while (depth > 0) {
        struct config_token token = take(scanner);
        if (token.kind == TOKEN_END) {
            config_report(scanner->loader, line, "the { here has no }");
            return;
        }
        depth += token.kind == TOKEN_OPEN ? 1 : token.kind == TOKEN_CLOSE ? -1 : 0;
    }
}

/* The rest of the line of the last token, up to the end of the section. */
static void skip_line(struct scanner *scanner)
{
    while (next_is_on_line(scanner, scanner->last_line) && scanner->next.kind != TOKEN_CLOSE) {
        struct config_token token = take(scanner);
        if (token.kind == TOKEN_OPEN)
            skip_block(scanner, token.line);
    }
}

/* ---- what libConfuse will read ---- */

/* Keeps the lines in step, in case libConfuse finds something after all. */
static void emit_line(struct scanner *scanner, const struct config_token *token)
{
    for (; scanner->clean_line < token->line; scanner->clean_line++)
        buf_append_str(&scanner->out->clean, "\n");
    scanner->clean_line += token->end_line - token->line;
}

static void emit_value(struct scanner *scanner, const struct config_token *token,
                       const char *prefix)
{
    struct buf *clean = &scanner->out->clean;

    switch (token->kind) {
    case TOKEN_STRING:
        buf_append(clean, token->text.ptr, 1);
        buf_append_str(clean, prefix);
        buf_append(clean, token->text.ptr + 1, token->text.len - 1);
        break;
    case TOKEN_VARIABLE:
        buf_printf(clean, "\"%s", prefix);
        buf_append(clean, token->text.ptr, token->text.len);
        buf_append_str(clean, "\"");
        break;
    case TOKEN_WORD:
    case TOKEN_END:
    case TOKEN_OPEN:
    case TOKEN_CLOSE:
    case TOKEN_EQUALS:
    case TOKEN_APPEND:
    case TOKEN_OTHER:
    case TOKEN_BROKEN:
        CHECK(token->kind == TOKEN_WORD);
        buf_printf(clean, "'%s", prefix);
        for (size_t i = 0; i < token->text.len; i++) {
            if (token->text.ptr[i] == '\\')
                buf_append_str(clean, "\\");
            buf_append(clean, token->text.ptr + i, 1);
        }
        buf_append_str(clean, "'");
        break;
    }
    buf_append_str(clean, " ");
}

static void add_statement(struct scanner *scanner, int key, int line, bool usable)
{
    struct config_scan *out = scanner->out;

    if (out->statement_count == out->statement_capacity) {
        int capacity = out->statement_capacity == 0 ? 64 : out->statement_capacity * 2;
        struct config_statement *statements =
            realloc(out->statements, (size_t)capacity * sizeof(statements[0]));
        if (statements == NULL) {
            scanner->loader->no_memory = true;
            return;
        }
        out->statements = statements;
        out->statement_capacity = capacity;
    }
    out->statements[out->statement_count++] =
        (struct config_statement){.section = scanner->section,
                                  .instance = scanner->instance,
                                  .key = key,
                                  .line = line,
                                  .usable = usable};
}

/* ---- key = value ---- */

static void show_name(const struct scanner *scanner, struct slice name, struct buf *out)
{
    if (scanner->section != SECTION_TOP)
        buf_printf(out, "%s.", config_section_names[scanner->section]);
    config_show(name, out);
}

/* "file:line: section.name: reason" */
static void report_name(struct scanner *scanner, const struct config_token *name,
                        const char *reason)
{
    struct buf text;

    buf_init(&text, 0);
    show_name(scanner, name->text, &text);
    config_report(scanner->loader, name->line, "%.*s: %s", (int)text.len, text.ptr, reason);
    buf_fini(&text);
}

static void report_twice(struct scanner *scanner, const struct config_token *name, int key,
                         const struct config_token *value)
{
    struct buf text;

    buf_init(&text, 0);
    show_name(scanner, name->text, &text);
    buf_append_str(&text, " = ");
    if (config_keys[key].kind == KIND_SECRET)
        buf_append_str(&text, "(not shown)");
    else
        config_show(value->text, &text);
    config_report(scanner->loader, name->line,
                  "%.*s: is set twice, first on line %d; keep one of "
                  "them",
                  (int)text.len, text.ptr, scanner->seen[key]);
    buf_fini(&text);
}

/* The value is not shown: what is nearly a key may have nearly a secret. */
static void report_unknown_key(struct scanner *scanner, const struct config_token *name)
{
    struct buf reason;

    buf_init(&reason, 0);
    if (scanner->section == SECTION_TOP && config_find_section(name->text) >= 0) {
        buf_append_str(&reason, "is a section; write ");
        buf_append(&reason, name->text.ptr, name->text.len);
        buf_append_str(&reason, " { ... }");
    } else {
        buf_append_str(&reason, "unknown key");
        /* Guessing is expensive; nobody gets to see the guesses behind the last. */
        if (scanner->loader->mistake_count < CONFIG_MAX_MISTAKES)
            config_suggest_key(scanner->section, name->text, &reason);
    }
    buf_append(&reason, "", 1);
    if (!buf_failed(&reason))
        report_name(scanner, name, reason.ptr);
    buf_fini(&reason);
}

/* Whether what follows a value on its line can be the next statement. */
static bool next_is_statement(const struct scanner *scanner)
{
    if (scanner->next.kind != TOKEN_WORD)
        return false;
    char after = config_lex_peek(&scanner->lexer);
    int section = config_find_section(scanner->next.text);
    return after == '=' || after == '{' || after == '+' ||
           (section >= 0 && config_section_has_title((enum config_section)section));
}

/* The key was meant to have a value: what depends on it is not checked. */
static void pass_over_value(struct scanner *scanner, const struct config_token *name)
{
    int key = config_find_key(scanner->section, name->text);

    skip_line(scanner);
    if (key >= 0 && scanner->seen[key] == 0) {
        scanner->seen[key] = name->line;
        add_statement(scanner, key, name->line, false);
    }
}

static void reject_value(struct scanner *scanner, const struct config_token *name,
                         const char *reason)
{
    report_name(scanner, name, reason);
    pass_over_value(scanner, name);
}

static void scan_assignment(struct scanner *scanner, const struct config_token *name)
{
    (void)take(scanner); /* the = */
    if (!next_is_on_line(scanner, scanner->last_line) || scanner->next.kind == TOKEN_CLOSE) {
        reject_value(scanner, name, "the value is missing behind the =");
        return;
    }
    if (scanner->next.kind == TOKEN_BROKEN) { /* reported already */
        (void)take(scanner);
        pass_over_value(scanner, name);
        return;
    }
    if (!next_is_value(scanner)) {
        reject_value(scanner, name,
                     scanner->next.kind == TOKEN_OPEN
                         ? "lists in braces are not known here; write one text in double quotes"
                         : "this is not a value; put it in double quotes");
        return;
    }
    struct config_token value = take(scanner);
    if (next_is_on_line(scanner, value.end_line) && scanner->next.kind != TOKEN_CLOSE &&
        !next_is_statement(scanner)) {
        reject_value(scanner, name,
                     "more follows behind the value; put all of it in double quotes if it "
                     "belongs together");
        return;
    }

    int key = config_find_key(scanner->section, name->text);
    if (key < 0) {
        if (!scanner->loader->lenient)
            report_unknown_key(scanner, name);
        return;
    }
    if (scanner->seen[key] != 0) {
        report_twice(scanner, name, key, &value);
        return;
    }
    scanner->seen[key] = name->line;
    emit_line(scanner, &value);
    buf_printf(&scanner->out->clean, "%s = ", config_keys[key].name);
    emit_value(scanner, &value, "");
    add_statement(scanner, key, value.line, true);
}

/* ---- sections ---- */

static void close_section(struct scanner *scanner)
{
    buf_append_str(&scanner->out->clean, "} ");
    scanner->section = SECTION_TOP;
    scanner->instance = 0;
    /* The keys outside of sections may go on behind a section. */
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (config_keys[i].section[0] != '\0')
            scanner->seen[i] = 0;
    }
}

static void enter_section(struct scanner *scanner, enum config_section section, int line)
{
    scanner->section = section;
    scanner->section_line = line;
}

/* False when there are too many already. */
static bool enter_titled(struct scanner *scanner, enum config_section section,
                         const struct config_token *title)
{
    struct config_scan *out = scanner->out;
    bool listen = section == SECTION_LISTEN;
    int *count = listen ? &out->listen_count : &out->route_count;
    int limit = listen ? CONFIG_MAX_LISTENS : CONFIG_MAX_ROUTES;

    if (*count == limit) {
        config_report(scanner->loader, title->line, "%s: there are more than %d of these sections",
                      config_section_names[section], limit);
        return false;
    }
    scanner->instance = (*count)++;
    (listen ? out->listen_lines : out->route_lines)[scanner->instance] = title->line;
    char prefix[16];
    (void)snprintf(prefix, sizeof(prefix), "%d:", scanner->instance);
    emit_line(scanner, title);
    buf_printf(&out->clean, "%s ", config_section_names[section]);
    emit_value(scanner, title, prefix);
    buf_append_str(&out->clean, "{ ");
    enter_section(scanner, section, title->line);
    return true;
}

static void report_unknown_section(struct scanner *scanner, const struct config_token *name)
{
    struct buf hint;

    buf_init(&hint, 0);
    if (config_find_key(scanner->section, name->text) >= 0)
        buf_append_str(&hint, "is a key, not a section; write it with = and a value");
    else {
        buf_append_str(&hint, "unknown section");
        config_suggest_section(name->text, &hint);
    }
    buf_append(&hint, "", 1);
    if (!buf_failed(&hint))
        report_name(scanner, name, hint.ptr);
    buf_fini(&hint);
}

/* The { was taken. */
static void scan_section(struct scanner *scanner, const struct config_token *name,
                         const struct config_token *title)
{
    int open_line = scanner->last_line;
    int found = config_find_section(name->text);

    if (found < 0) {
        if (!scanner->loader->lenient)
            report_unknown_section(scanner, name);
        skip_block(scanner, open_line);
        return;
    }
    enum config_section section = (enum config_section)found;
    if (scanner->section != SECTION_TOP) {
        config_report(scanner->loader, name->line,
                      "section %s begins before section %s of line %d was closed with }",
                      config_section_names[section], config_section_names[scanner->section],
                      scanner->section_line);
        close_section(scanner);
    }
    if (config_section_has_title(section)) {
        if (title == NULL) {
            report_name(scanner, name,
                        section == SECTION_LISTEN
                            ? "the name of the section is missing; write listen \"name\" { ... }"
                            : "the path is missing; write route \"/path\" { ... }");
            skip_block(scanner, open_line);
        } else if (title->kind == TOKEN_BROKEN || !enter_titled(scanner, section, title)) {
            skip_block(scanner, open_line);
        }
        return;
    }
    if (title != NULL)
        report_name(scanner, name, "this section has no name; write { directly behind it");
    if (scanner->section_seen[section] != 0)
        config_report(scanner->loader, name->line,
                      "section %s is there twice, first on line %d; put its keys together",
                      config_section_names[section], scanner->section_seen[section]);
    else
        scanner->section_seen[section] = name->line;
    emit_line(scanner, name);
    buf_printf(&scanner->out->clean, "%s { ", config_section_names[section]);
    enter_section(scanner, section, name->line);
}

/* ---- statements ---- */

static void scan_titled(struct scanner *scanner, const struct config_token *name)
{
    struct config_token title = take(scanner);

    if (scanner->next.kind == TOKEN_OPEN) {
        (void)take(scanner);
        scan_section(scanner, name, &title);
        return;
    }
    if (title.kind != TOKEN_BROKEN)
        report_name(scanner, name, "there is no = behind the key (or no { behind the section)");
    skip_line(scanner);
}

/* A word that begins a statement was taken. */
static void scan_statement(struct scanner *scanner, const struct config_token *name)
{
    bool same_line = next_is_on_line(scanner, name->end_line);

    switch (scanner->next.kind) {
    case TOKEN_EQUALS:
        scan_assignment(scanner, name);
        return;
    case TOKEN_OPEN:
        (void)take(scanner);
        scan_section(scanner, name, NULL);
        return;
    case TOKEN_WORD:
    case TOKEN_VARIABLE:
    case TOKEN_STRING:
    case TOKEN_BROKEN:
        if (same_line) {
            scan_titled(scanner, name);
            return;
        }
        break;
    case TOKEN_APPEND:
        report_name(scanner, name, "+= is not known here; write = and the whole value");
        skip_line(scanner);
        return;
    case TOKEN_OTHER:
        if (same_line) {
            report_name(scanner, name, "this is not known here; write key = value");
            skip_line(scanner);
            return;
        }
        break;
    case TOKEN_CLOSE:
    case TOKEN_END:
        break;
    }
    report_name(scanner, name,
                config_find_section(name->text) >= 0 ? "its { is missing"
                                                     : "= and a value are missing");
}

void config_scan(struct config_loader *loader, struct slice text, struct config_scan *out)
{
    struct scanner scanner = {
        .loader = loader, .out = out, .clean_line = 1, .section = SECTION_TOP};

    *out = (struct config_scan){.statements = NULL};
    buf_init(&out->clean, 4 * CONFIG_MAX_WIRE);
    config_lex_init(&scanner.lexer, loader, text);
    scanner.next = config_lex_next(&scanner.lexer);
    while (scanner.next.kind != TOKEN_END) {
        struct config_token token = take(&scanner);
        if (token.kind == TOKEN_WORD) {
            scan_statement(&scanner, &token);
        } else if (token.kind == TOKEN_CLOSE && scanner.section != SECTION_TOP) {
            close_section(&scanner);
        } else if (token.kind == TOKEN_CLOSE) {
            config_report(loader, token.line, "there is no section for this } to close");
        } else {
            if (token.kind != TOKEN_BROKEN)
                config_report(loader, token.line, "a key or a section is expected here%s",
                              token.kind == TOKEN_STRING ? ", without quotes" : "");
            if (token.kind == TOKEN_OPEN)
                skip_block(&scanner, token.line);
            skip_line(&scanner);
        }
    }
    if (scanner.section != SECTION_TOP) {
        config_report(loader, scanner.section_line, "section %s is not closed; its } is missing",
                      config_section_names[scanner.section]);
        close_section(&scanner);
    }
    loader->no_memory = loader->no_memory || buf_failed(&out->clean);
}

void config_scan_fini(struct config_scan *scan)
{
    buf_fini(&scan->clean);
    free(scan->statements);
    *scan = (struct config_scan){.statements = NULL};
}
