/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_chars - the table, computed by the compiler from the rules of the RFCs.
 */
#include "worker/http_chars.h"

#define ALPHA(c) (((c) >= 'a' && (c) <= 'z') || ((c) >= 'A' && (c) <= 'Z'))
#define DIGIT(c) ((c) >= '0' && (c) <= '9')
#define HEX(c) (DIGIT(c) || ((c) >= 'a' && (c) <= 'f') || ((c) >= 'A' && (c) <= 'F'))

/* RFC 9110 5.6.2 */
#define TCHAR(c)                                                                                   \
    (ALPHA(c) || DIGIT(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' || (c) == '&' || \
     (c) == '\'' || (c) == '*' || (c) == '+' || (c) == '-' || (c) == '.' || (c) == '^' ||          \
     (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')

/* RFC 3986 2.2, 2.3 and 3.3 */
#define UNRESERVED(c) (ALPHA(c) || DIGIT(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define SUB_DELIM(c)                                                                               \
    ((c) == '!' || (c) == '$' || (c) == '&' || (c) == '\'' || (c) == '(' || (c) == ')' ||          \
     (c) == '*' || (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=')
#define PCHAR(c) (UNRESERVED(c) || SUB_DELIM(c) || (c) == ':' || (c) == '@')

/* Browsers leave some bytes unescaped that RFC 3986 has no place for (the path
 * and query percent-encode sets of the WHATWG URL standard). None of them can
 * end a target or a line, so they are let through. A '%' is checked in paths;
 * in queries it is left to who decodes them, as "?discount=50%" is common. */
#define PATH(c) (PCHAR(c) || (c) == '/' || (c) == '[' || (c) == ']' || (c) == '|' || (c) == '^')
#define QUERY(c)                                                                                   \
    (PATH(c) || (c) == '?' || (c) == '%' || (c) == '`' || (c) == '{' || (c) == '}' || (c) == '\\')

#define VALUE(c) ((c) == '\t' || ((c) >= 0x20 && (c) != 0x7f))

#define CLASS(c)                                                                                   \
    ((TCHAR(c) ? HTTP_CHAR_TOKEN : 0) | (VALUE(c) ? HTTP_CHAR_VALUE : 0) |                         \
     (PATH(c) ? HTTP_CHAR_PATH : 0) | (QUERY(c) ? HTTP_CHAR_QUERY : 0) |                           \
     (UNRESERVED(c) || SUB_DELIM(c) ? HTTP_CHAR_HOST : 0) | (HEX(c) ? HTTP_CHAR_HEX : 0))

#define ROW4(c) CLASS(c), CLASS((c) + 1), CLASS((c) + 2), CLASS((c) + 3)
#define ROW16(c) ROW4(c), ROW4((c) + 4), ROW4((c) + 8), ROW4((c) + 12)
#define ROW64(c) ROW16(c), ROW16((c) + 16), ROW16((c) + 32), ROW16((c) + 48)

const uint8_t http_char_class[256] = {ROW64(0), ROW64(64), ROW64(128), ROW64(192)};
