/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_lex - the configuration file as tokens.
 *
 * Knows words, quoted strings with their escapes, ${VARIABLE}, punctuation
 * and comments. What is not well-formed is reported here, once, and comes out
 * as TOKEN_BROKEN; the lexer goes on behind it, so later mistakes are found, too.
 */
#ifndef MUSTER_CONFIG_LEX_H
#define MUSTER_CONFIG_LEX_H

#include "common/slice.h"

struct config_loader;

enum config_token_kind {
    TOKEN_END,
    TOKEN_WORD,     /* without quotes */
    TOKEN_VARIABLE, /* ${NAME} or ${NAME:-default}, without quotes */
    TOKEN_STRING,   /* text has the quotes and the escapes */
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_EQUALS,
    TOKEN_APPEND, /* += */
    TOKEN_OTHER,  /* ( ) or , */
    TOKEN_BROKEN,
};

struct config_token {
    enum config_token_kind kind;
    int line;     /* where it begins */
    int end_line; /* where it ends: a string may be continued behind a backslash */
    struct slice text;
};

struct config_lexer {
    struct config_loader *loader;
    const char *at;
    const char *end;
    int line;
};

void config_lex_init(struct config_lexer *lexer, struct config_loader *loader, struct slice text);
struct config_token config_lex_next(struct config_lexer *lexer);

/* The first character of the same line that is not blank, '\0' if none. */
char config_lex_peek(const struct config_lexer *lexer);

#endif
