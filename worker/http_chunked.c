/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_chunked - chunked bodies (RFC 9112 7.1): a machine with one state for
 * each place in the grammar, so that it can be cut anywhere.
 *
 *     chunk    = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
 *     chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
 *
 * White space directly behind the size is refused although BWS may stand there
 * before a ";": what follows a size is where decoders disagree, and nobody
 * sends it.
 */
#include "worker/http_chars.h"
#include "worker/http_parser.h"

enum { MAX_SIZE_DIGITS = 16 };

enum chunked_state {
    SIZE,           /* before or in the size */
    EXT_NAME_START, /* behind ';' */
    EXT_NAME,
    EXT_NAME_END, /* white space behind the name */
    EXT_VALUE_START,
    EXT_TOKEN,
    EXT_QUOTED,
    EXT_ESCAPED,
    EXT_VALUE_END, /* behind the closing quote */
    EXT_BLANK,     /* white space behind the value */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START, /* of a line of the trailer section */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    DONE,
};

void http_chunked_init(struct http_chunked *chunked)
{
    *chunked = (struct http_chunked){.state = SIZE};
}

static const char *refuse(struct http_parse_error *error, int status, const char *reason)
{
    *error = (struct http_parse_error){.status = status, .reason = reason};
    return reason;
}

static int hex_value(char c)
{
    return http_is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
}

static const char *take_size_byte(struct http_chunked *chunked, char c, uint64_t max_body_bytes,
                                  struct http_parse_error *error)
{
    if (http_char_is(c, HTTP_CHAR_HEX)) {
        if (chunked->digits == MAX_SIZE_DIGITS)
            return refuse(error, 400, "a chunk size with too many digits (RFC 9112 7.1)");
        chunked->digits++;
        chunked->chunk_left = chunked->chunk_left << 4 | (unsigned)hex_value(c);
        return NULL;
    }
    if (chunked->digits == 0 || (c != ';' && c != '\r'))
        return refuse(error, 400, "invalid chunk size (RFC 9112 7.1)");
    if (chunked->body_bytes > max_body_bytes ||
        chunked->chunk_left > max_body_bytes - chunked->body_bytes)
        return refuse(error, 413, "the body is too large");
    chunked->state = c == ';' ? EXT_NAME_START : SIZE_LF;
    return NULL;
}

/* The state behind `c` in a chunk extension, or -1 if `c` may not be there. */
static int next_in_extension(enum chunked_state state, char c)
{
    bool token = http_char_is(c, HTTP_CHAR_TOKEN);
    bool blank = http_is_blank(c);

    if (state == EXT_QUOTED) {
        if (c == '"')
            return EXT_VALUE_END;
        if (c == '\\')
            return EXT_ESCAPED;
        return http_char_is(c, HTTP_CHAR_VALUE) ? EXT_QUOTED : -1;
    }
    if (state == EXT_ESCAPED)
        return http_char_is(c, HTTP_CHAR_VALUE) ? EXT_QUOTED : -1;
    if (state == EXT_NAME_START)
        return token ? EXT_NAME : blank ? EXT_NAME_START : -1;
    if (state == EXT_VALUE_START)
        return token ? EXT_TOKEN : blank ? EXT_VALUE_START : c == '"' ? EXT_QUOTED : -1;

    bool in_name = state == EXT_NAME || state == EXT_NAME_END;
    if (token && (state == EXT_NAME || state == EXT_TOKEN))
        return (int)state;
    if (blank)
        return in_name ? EXT_NAME_END : EXT_BLANK;
    if (c == '=' && in_name)
        return EXT_VALUE_START;
    if (c == ';')
        return EXT_NAME_START;
    /* White space before the end of the line is not in the grammar. */
    if (c == '\r' && state != EXT_NAME_END && state != EXT_BLANK)
        return SIZE_LF;
    return -1;
}

static const char *take_extension_byte(struct http_chunked *chunked, char c,
                                       struct http_parse_error *error)
{
    int next = next_in_extension((enum chunked_state)chunked->state, c);
    if (next < 0)
        return refuse(error, 400, "malformed chunk extension (RFC 9112 7.1.1)");
    if (chunked->extra_bytes >= HTTP_CHUNKED_MAX_EXTRA_BYTES)
        return refuse(error, 400, "too many chunk extensions (RFC 9112 7.1.1)");
    chunked->extra_bytes++;
    chunked->state = (uint8_t)next;
    return NULL;
}

static const char *take_trailer_byte(struct http_chunked *chunked, char c,
                                     struct http_parse_error *error)
{
    if (chunked->extra_bytes >= HTTP_CHUNKED_MAX_EXTRA_BYTES)
        return refuse(error, 431, "the trailer section is too large (RFC 6585 5)");
    chunked->extra_bytes++;
    if (chunked->state == TRAILER_VALUE) {
        if (c == '\r')
            chunked->state = TRAILER_LF;
        else if (!http_char_is(c, HTTP_CHAR_VALUE))
            return refuse(error, 400, "invalid byte in a trailer value (RFC 9112 7.1.2)");
        return NULL;
    }
    if (chunked->state == TRAILER_START && c == '\r')
        chunked->state = END_LF;
    else if (http_char_is(c, HTTP_CHAR_TOKEN))
        chunked->state = TRAILER_NAME;
    else if (chunked->state == TRAILER_NAME && c == ':')
        chunked->state = TRAILER_VALUE;
    else
        return refuse(error, 400, "malformed trailer field (RFC 9112 7.1.2)");
    return NULL;
}

/* `want` must come, then the machine is in `next`. */
static const char *take_exactly(struct http_chunked *chunked, char c, char want,
                                enum chunked_state next, struct http_parse_error *error)
{
    if (c != want)
        return refuse(error, 400, "CR LF is missing in a chunked body (RFC 9112 7.1)");
    chunked->state = (uint8_t)next;
    return NULL;
}

static const char *end_size_line(struct http_chunked *chunked, char c,
                                 struct http_parse_error *error)
{
    chunked->digits = 0;
    return take_exactly(chunked, c, '\n', chunked->chunk_left == 0 ? TRAILER_START : DATA, error);
}

static const char *take_byte(struct http_chunked *chunked, char c, uint64_t max_body_bytes,
                             struct http_parse_error *error)
{
    switch ((enum chunked_state)chunked->state) {
    case SIZE:
        return take_size_byte(chunked, c, max_body_bytes, error);
    case EXT_NAME_START:
    case EXT_NAME:
    case EXT_NAME_END:
    case EXT_VALUE_START:
    case EXT_TOKEN:
    case EXT_QUOTED:
    case EXT_ESCAPED:
    case EXT_VALUE_END:
    case EXT_BLANK:
        return take_extension_byte(chunked, c, error);
    case SIZE_LF:
        return end_size_line(chunked, c, error);
    case DATA_CR:
        return take_exactly(chunked, c, '\r', DATA_LF, error);
    case DATA_LF:
        return take_exactly(chunked, c, '\n', SIZE, error);
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE:
        return take_trailer_byte(chunked, c, error);
    case TRAILER_LF:
        chunked->extra_bytes++;
        return take_exactly(chunked, c, '\n', TRAILER_START, error);
    case END_LF:
        return take_exactly(chunked, c, '\n', DONE, error);
    case DATA: /* these two take no bytes one by one */
    case DONE:
        break;
    }
    return NULL;
}

enum http_parse_result http_chunked_decode(struct http_chunked *chunked, const char *bytes,
                                           size_t len, uint64_t max_body_bytes, size_t *consumed,
                                           struct slice *data, struct http_parse_error *error)
{
    size_t at = 0;
    enum http_parse_result result = HTTP_PARSE_INCOMPLETE;
    *data = slice_from(bytes, 0);

    while (at < len && chunked->state != DATA && chunked->state != DONE) {
        if (take_byte(chunked, bytes[at], max_body_bytes, error) != NULL) {
            result = HTTP_PARSE_ERROR;
            break;
        }
        at++;
    }
    if (chunked->state == DATA && at < len) {
        size_t run = len - at < chunked->chunk_left ? len - at : (size_t)chunked->chunk_left;
        *data = slice_from(bytes + at, run);
        at += run;
        chunked->chunk_left -= run;
        chunked->body_bytes += run;
        if (chunked->chunk_left == 0)
            chunked->state = DATA_CR;
    }
    *consumed = at;
    return chunked->state == DONE ? HTTP_PARSE_DONE : result;
}
