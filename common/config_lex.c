/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_lex - the configuration file as tokens.
 */
#include "common/config_lex.h"

#include "common/config_private.h"

#include <stdlib.h>

void config_lex_init(struct config_lexer *lexer, struct config_loader *loader, struct slice text)
{
    static const struct slice byte_order_mark = SLICE_LITERAL("\xef\xbb\xbf");

    *lexer = (struct config_lexer){
        .loader = loader, .at = text.ptr, .end = text.ptr + text.len, .line = 1};
    if (slice_starts_with(text, byte_order_mark))
        lexer->at += byte_order_mark.len;
}

static bool at_text(const struct config_lexer *lexer, const char *text)
{
    return slice_starts_with(slice_from(lexer->at, (size_t)(lexer->end - lexer->at)),
                             slice_from_str(text));
}

static void skip_to_line_end(struct config_lexer *lexer)
{
    const char *newline = memchr(lexer->at, '\n', (size_t)(lexer->end - lexer->at));
    lexer->at = newline == NULL ? lexer->end : newline;
}

static void skip_block_comment(struct config_lexer *lexer)
{
    int line = lexer->line;

    lexer->at += 2;
    while (lexer->at < lexer->end && !at_text(lexer, "*/")) {
        if (*lexer->at++ == '\n')
            lexer->line++;
    }
    if (lexer->at == lexer->end)
        config_report(lexer->loader, line, "the comment that begins here has no end; write */");
    else
        lexer->at += 2;
}

static void skip_blanks(struct config_lexer *lexer)
{
    while (lexer->at < lexer->end) {
        char c = *lexer->at;
        if (c == '\n') {
            lexer->line++;
            lexer->at++;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            lexer->at++;
        } else if (c == '#' || at_text(lexer, "//")) {
            skip_to_line_end(lexer);
        } else if (at_text(lexer, "/*")) {
            skip_block_comment(lexer);
        } else {
            return;
        }
    }
}

/* Words may have everything that has no meaning of its own. */
static bool is_word_char(char c)
{
    return (unsigned char)c > ' ' && c != 0x7f && strchr("#\"'={}(),", c) == NULL;
}

static struct config_token make(const struct config_lexer *lexer, enum config_token_kind kind,
                                const char *begin, int line)
{
    return (struct config_token){.kind = kind,
                                 .line = line,
                                 .end_line = lexer->line,
                                 .text = slice_from(begin, (size_t)(lexer->at - begin))};
}

static bool is_name_char(char c, bool first)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

/* Reads the ${NAME} or ${NAME:-default} that `at` is on. libConfuse expands it
 * later; here only what it would silently take for something else is refused. */
static bool lex_variable(struct config_lexer *lexer)
{
    const char *begin = lexer->at;
    const char *p = begin + 2;
    const char *name = p;

    while (p < lexer->end && *p != '}' && *p != '\n' && *p != '"' && *p != '\'')
        p++;
    if (p == lexer->end || *p != '}') {
        config_report(lexer->loader, lexer->line,
                      "${ without its }; write ${NAME} or ${NAME:-default}, or \\$ for a dollar");
        return false;
    }
    lexer->at = p + 1;
    const char *name_end = name;
    while (name_end < p && is_name_char(*name_end, name_end == name))
        name_end++;
    bool has_default = name_end + 1 < p && name_end[0] == ':' && name_end[1] == '-';
    /* The first } ends it, so that a variable cannot be in a default. */
    bool nested = memmem(name, (size_t)(p - name), "${", 2) != NULL;
    if (nested || name_end == name || (name_end != p && !has_default)) {
        config_report(lexer->loader, lexer->line,
                      "this is not a variable; write ${NAME} or ${NAME:-default}");
        return false;
    }
    if (has_default)
        return true;
    char *copy = strndup(name, (size_t)(name_end - name));
    if (copy == NULL) {
        lexer->loader->no_memory = true;
        return false;
    }
    bool set = getenv(copy) != NULL;
    if (!set)
        config_report(lexer->loader, lexer->line,
                      "the environment variable %.64s is not set; set it, or write ${%.64s:-} "
                      "for nothing or ${%.64s:-default}",
                      copy, copy, copy);
    free(copy);
    return set;
}

/* The number of an escape in octal or hexadecimal; -1 if there is none. */
static int escape_number(const char *digits, size_t len, int base)
{
    int value = 0;

    for (size_t i = 0; i < len; i++) {
        char c = digits[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : base;
        if (digit >= base || value > 255)
            return -1;
        value = value * base + digit;
    }
    return len == 0 || value > 255 ? -1 : value;
}

static size_t span(const struct config_lexer *lexer, const char *from, const char *accept,
                   size_t most)
{
    size_t len = 0;
    while (from + len < lexer->end && len < most && from[len] != '\0' &&
           strchr(accept, from[len]) != NULL)
        len++;
    return len;
}

/* One escape of a double-quoted string; `at` is on the backslash. */
static bool lex_escape(struct config_lexer *lexer)
{
    const char *p = lexer->at + 1;
    char c = p < lexer->end ? *p : '\n';
    size_t digits;
    int number;

    if (c >= '0' && c <= '9') {
        digits = span(lexer, p, "0123456789", SIZE_MAX);
        number = digits <= 3 ? escape_number(p, digits, 8) : -1;
        lexer->at = p + digits;
    } else if (c == 'x') {
        digits = span(lexer, p + 1, "0123456789abcdefABCDEF", 2);
        number = escape_number(p + 1, digits, 16);
        lexer->at = p + 1 + digits;
    } else {
        bool known = strchr("nrbfaetv", c) != NULL || !is_name_char(c, false);
        lexer->at = p < lexer->end ? p + 1 : p;
        if (c == '\n')
            lexer->line++;
        if (known)
            return true;
        config_report(lexer->loader, lexer->line, "\\%c means nothing; write \\\\ for a backslash",
                      c);
        return false;
    }
    if (number > 0)
        return true;
    config_report(lexer->loader, lexer->line,
                  number == 0
                      ? "\\0 would end the text; text cannot contain it"
                      : "this escape is not a byte; write \\001 to \\377 or \\x01 to \\xff");
    return false;
}

static struct config_token lex_string(struct config_lexer *lexer)
{
    const char *begin = lexer->at;
    char quote = *begin;
    int line = lexer->line;
    bool good = true;

    lexer->at++;
    while (lexer->at < lexer->end && *lexer->at != quote && *lexer->at != '\n') {
        if (*lexer->at == '\\' && quote == '"') {
            good = lex_escape(lexer) && good;
        } else if (*lexer->at == '\\' && lexer->at + 1 < lexer->end) {
            if (lexer->at[1] == '\n')
                lexer->line++;
            lexer->at += 2;
        } else if (quote == '"' && at_text(lexer, "${")) {
            const char *before = lexer->at;
            good = lex_variable(lexer) && good;
            /* After a variable without its end the string may still have one. */
            if (lexer->at == before)
                lexer->at += 2;
        } else {
            lexer->at++;
        }
    }
    if (lexer->at == lexer->end || *lexer->at == '\n') {
        config_report(lexer->loader, lexer->line,
                      "the text that begins here has no closing %c on its line; write \\n for a "
                      "line break in double quotes",
                      quote);
        return make(lexer, TOKEN_BROKEN, begin, line);
    }
    lexer->at++;
    return make(lexer, good ? TOKEN_STRING : TOKEN_BROKEN, begin, line);
}

static struct config_token lex_word(struct config_lexer *lexer)
{
    const char *begin = lexer->at;
    int line = lexer->line;
    bool variable = at_text(lexer, "${");
    bool good = true;

    if (variable) {
        good = lex_variable(lexer);
        if (lexer->at == begin) { /* no end in sight on this line */
            skip_to_line_end(lexer);
            return make(lexer, TOKEN_BROKEN, begin, line);
        }
    }
    const char *word = lexer->at;
    while (lexer->at < lexer->end && is_word_char(*lexer->at) && !at_text(lexer, "+="))
        lexer->at++;
    bool more = lexer->at < lexer->end && strchr("\"'{", *lexer->at) != NULL;
    bool dollar = lexer->at > word && lexer->at[-1] == '$' && more && *lexer->at == '{';
    if (dollar || (variable && (lexer->at > word || (more && *lexer->at != '{')))) {
        config_report(lexer->loader, line,
                      "${...} next to other text only works inside of double quotes");
        skip_to_line_end(lexer);
        return make(lexer, TOKEN_BROKEN, begin, line);
    }
    return make(lexer, !good ? TOKEN_BROKEN : variable ? TOKEN_VARIABLE : TOKEN_WORD, begin, line);
}

struct config_token config_lex_next(struct config_lexer *lexer)
{
    skip_blanks(lexer);
    const char *begin = lexer->at;
    if (begin == lexer->end)
        return make(lexer, TOKEN_END, begin, lexer->line);
    if (*begin == '"' || *begin == '\'')
        return lex_string(lexer);
    if (at_text(lexer, "+=")) {
        lexer->at += 2;
        return make(lexer, TOKEN_APPEND, begin, lexer->line);
    }
    if (is_word_char(*begin))
        return lex_word(lexer);

    lexer->at++;
    switch (*begin) {
    case '{':
        return make(lexer, TOKEN_OPEN, begin, lexer->line);
    case '}':
        return make(lexer, TOKEN_CLOSE, begin, lexer->line);
    case '=':
        return make(lexer, TOKEN_EQUALS, begin, lexer->line);
    case '(':
    case ')':
    case ',':
        return make(lexer, TOKEN_OTHER, begin, lexer->line);
    default:
        config_report(lexer->loader, lexer->line, "the byte 0x%02x does not belong here",
                      (unsigned char)*begin);
        return make(lexer, TOKEN_BROKEN, begin, lexer->line);
    }
}

char config_lex_peek(const struct config_lexer *lexer)
{
    const char *p = lexer->at;
    while (p < lexer->end && (*p == ' ' || *p == '\t'))
        p++;
    return p < lexer->end && *p != '\n' && *p != '\r' ? *p : '\0';
}
