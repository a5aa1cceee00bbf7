/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_value - one value: from text into a field of a struct, and back.
 */
#include "common/config_private.h"

#include "common/units.h"
#include "common/weights.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool refuse(char why[CONFIG_WHY_SIZE], const char *reason)
{
    (void)snprintf(why, CONFIG_WHY_SIZE, "%s", reason);
    return false;
}

/* ---- fields ---- */

static void *field(const struct config_key *key, void *object)
{
    return (char *)object + key->offset;
}

static const void *const_field(const struct config_key *key, const void *object)
{
    return (const char *)object + key->offset;
}

static void store_number(const struct config_key *key, void *object, int64_t value)
{
    void *at = field(key, object);

    switch (key->type) {
    case 'b':
        *(bool *)at = value != 0;
        break;
    case 'i':
        *(int *)at = (int)value;
        break;
    case 'e': { /* an enum of whatever name; they all have this type */
        unsigned number = (unsigned)value;
        memcpy(at, &number, sizeof(number));
        break;
    }
    default:
        CHECK(key->type == 'l');
        *(int64_t *)at = value;
    }
}

int64_t config_value_number(const struct config_key *key, const void *object)
{
    const void *at = const_field(key, object);

    switch (key->type) {
    case 'b':
        return *(const bool *)at ? 1 : 0;
    case 'i':
        return *(const int *)at;
    case 'e': {
        unsigned number;
        memcpy(&number, at, sizeof(number));
        return number;
    }
    default:
        CHECK(key->type == 'l');
        return *(const int64_t *)at;
    }
}

const char *config_value_string(const struct config_key *key, const void *object)
{
    CHECK(key->type == 's');
    const char *text = *(char *const *)const_field(key, object);
    return text == NULL ? "" : text;
}

static bool store_string(const struct config_key *key, void *object, const char *text,
                         char why[CONFIG_WHY_SIZE])
{
    char **at = field(key, object);
    char *copy = strdup(text);

    if (copy == NULL)
        return refuse(why, "cannot be stored for want of memory");
    free(*at);
    *at = copy;
    return true;
}

/* ---- numbers ---- */

static bool parse_bool(const char *text, int64_t *out, char why[CONFIG_WHY_SIZE])
{
    static const char *const words[2][4] = {{"false", "no", "off", "0"},
                                            {"true", "yes", "on", "1"}};
    for (int value = 0; value < 2; value++) {
        for (size_t i = 0; i < ARRAY_COUNT(words[0]); i++) {
            if (strcasecmp(text, words[value][i]) == 0) {
                *out = value;
                return true;
            }
        }
    }
    return refuse(why, "is neither true nor false");
}

static bool parse_choice(const char *choices, const char *text, int64_t *out,
                         char why[CONFIG_WHY_SIZE])
{
    size_t len = strlen(text);
    int64_t index = 0;

    for (const char *word = choices; *word != '\0'; index++) {
        size_t word_len = strcspn(word, " ");
        if (len == word_len && strncmp(word, text, len) == 0) {
            *out = index;
            return true;
        }
        word += word_len;
        word += *word == ' ' ? 1 : 0;
    }
    return refuse(why, "is not one of the words known here");
}

static bool parse_octal(const char *text, int64_t *out, char why[CONFIG_WHY_SIZE])
{
    int64_t value = 0;
    size_t len = strlen(text);

    if (len == 0)
        return refuse(why, "is empty");
    if (strspn(text, "01234567") != len || len > 6)
        return refuse(why, "is not an octal number");
    for (size_t i = 0; i < len; i++)
        value = value * 8 + (text[i] - '0');
    *out = value;
    return true;
}

static bool parse_counted(const struct config_key *key, const char *text, int64_t *out,
                          char why[CONFIG_WHY_SIZE])
{
    struct slice slice = slice_from_str(text);
    const char *reason = "";
    int64_t value = 0;
    int error;

    if (key->kind == KIND_DURATION)
        error = units_parse_duration(slice, &value, &reason);
    else if (key->kind == KIND_SIZE)
        error = units_parse_size(slice, &value, &reason);
    else
        error = units_parse_number(slice, &value, &reason);
    if (error != 0)
        return refuse(why, reason);
    if (value < key->min)
        return refuse(why, "is too small");
    if (value > key->max)
        return refuse(why, "is too large");
    *out = value;
    return true;
}

static bool parse_number(const struct config_key *key, const char *text, int64_t *out,
                         char why[CONFIG_WHY_SIZE])
{
    switch (key->kind) {
    case KIND_BOOL:
        return parse_bool(text, out, why);
    case KIND_CHOICE:
        return parse_choice(key->choices, text, out, why);
    case KIND_MODE:
        if (!parse_octal(text, out, why))
            return false;
        return *out <= key->max || refuse(why, "is too large");
    case KIND_AUTO:
        if (strcmp(text, "auto") == 0 || strcmp(text, "0") == 0) {
            *out = 0;
            return true;
        }
        return parse_counted(key, text, out, why);
    case KIND_NUMBER:
    case KIND_DURATION:
    case KIND_SIZE:
        return parse_counted(key, text, out, why);
    case KIND_TEXT:
    case KIND_HEADER:
    case KIND_MEDIA_TYPE:
    case KIND_PATH:
    case KIND_ADDRESS:
    case KIND_HOSTS:
    case KIND_WEIGHTS:
    case KIND_SECRET:
    case KIND_USER:
    case KIND_GROUP:
        break;
    }
    return refuse(why, "is not a number");
}

/* ---- strings ---- */

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* RFC 9110 5.6.2 */
static bool is_token_char(char c)
{
    return is_letter_or_digit(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_printable(char c)
{
    return c >= 0x20 && c <= 0x7e;
}

/* What may stand in a header field without changing what comes after it. */
static bool check_header(const char *text, char why[CONFIG_WHY_SIZE])
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        if (!is_printable(text[i]))
            return refuse(why, "has a character that is not safe in a header");
    }
    if (len != 0 && (text[0] == ' ' || text[len - 1] == ' '))
        return refuse(why, "begins or ends with a space");
    return true;
}

static bool check_media_type(const char *text, char why[CONFIG_WHY_SIZE])
{
    if (!check_header(text, why))
        return false;
    const char *p = text;
    while (is_token_char(*p))
        p++;
    if (p == text || *p != '/' || !is_token_char(p[1]))
        return refuse(why, "is not a media type");
    p++;
    while (is_token_char(*p))
        p++;
    return *p == '\0' || *p == ';' || *p == ' ' || refuse(why, "is not a media type");
}

static bool check_path(const char *text, char why[CONFIG_WHY_SIZE])
{
    if (text[0] != '\0' && text[0] != '/')
        return refuse(why, "is not an absolute path");
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return refuse(why, "has a control character");
    }
    return true;
}

static bool check_address(const char *text, char why[CONFIG_WHY_SIZE])
{
    struct in6_addr binary;

    if (text[0] == '\0' || strcmp(text, "*") == 0 || strcmp(text, "localhost") == 0 ||
        inet_pton(AF_INET, text, &binary) == 1 || inet_pton(AF_INET6, text, &binary) == 1)
        return true;
    if (text[0] == '[')
        return refuse(why, "is in brackets; they are only needed where a port follows");
    if (strchr(text, ':') != NULL && strchr(text, '.') != NULL)
        return refuse(why, "is not an address; the port is a key of its own");
    return refuse(why, "is not a numeric address");
}

static bool check_hosts(const char *text, char why[CONFIG_WHY_SIZE])
{
    for (const char *p = text; *p != '\0';) {
        p += strspn(p, " ");
        size_t len = strcspn(p, ", ");
        if (len == 0)
            return refuse(why, "has an empty name");
        if (len > 253)
            return refuse(why, "has a name of more than 253 characters");
        for (size_t i = 0; i < len; i++) {
            if (!is_letter_or_digit(p[i]) && strchr("-._[]:", p[i]) == NULL)
                return refuse(why, "has a character that no host name has");
        }
        p += len;
        p += strspn(p, " ");
        if (*p == '\0')
            return true;
        if (*p != ',')
            return refuse(why, "has names without a comma between them");
        if (p[1] == '\0')
            return refuse(why, "ends with a comma");
        p++;
    }
    return true;
}

static bool check_weights(const char *text, char why[CONFIG_WHY_SIZE])
{
    uint16_t weights[CONTRACT_MAX_SLOTS];
    const char *mistake = weights_parse(text, weights, CONTRACT_MAX_SLOTS);
    return mistake == NULL || refuse(why, mistake);
}

static bool check_secret(const struct config_key *key, const char *text, char why[CONFIG_WHY_SIZE])
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        if (!is_printable(text[i]) || text[i] == ' ')
            return refuse(why, "has a character that is not allowed");
    }
    if (len != 0 && len < (size_t)key->min)
        return refuse(why, "is too short to be safe");
    return true;
}

static bool check_account(const char *text, char why[CONFIG_WHY_SIZE])
{
    for (const char *p = text; *p != '\0'; p++) {
        if (!is_letter_or_digit(*p) && strchr("_-.$", *p) == NULL)
            return refuse(why, "has a character that no account name has");
    }
    return text[0] != '-' || refuse(why, "begins with -");
}

static bool check_string(const struct config_key *key, const char *text, char why[CONFIG_WHY_SIZE])
{
    size_t len = strlen(text);

    if (len == 0 && key->min != 0 && key->kind != KIND_SECRET)
        return refuse(why, "is empty");
    if (len > (size_t)key->max)
        return refuse(why, "is too long");
    switch (key->kind) {
    case KIND_HEADER:
        return check_header(text, why);
    case KIND_MEDIA_TYPE:
        return check_media_type(text, why);
    case KIND_PATH:
        return check_path(text, why);
    case KIND_ADDRESS:
        return check_address(text, why);
    case KIND_HOSTS:
        return check_hosts(text, why);
    case KIND_WEIGHTS:
        return check_weights(text, why);
    case KIND_SECRET:
        return check_secret(key, text, why);
    case KIND_USER:
    case KIND_GROUP:
        return check_account(text, why);
    case KIND_TEXT:
    case KIND_BOOL:
    case KIND_NUMBER:
    case KIND_AUTO:
    case KIND_DURATION:
    case KIND_SIZE:
    case KIND_CHOICE:
    case KIND_MODE:
        break;
    }
    return true;
}

/* ---- both ---- */

bool config_value_set(const struct config_key *key, void *object, const char *text,
                      char why[CONFIG_WHY_SIZE])
{
    if (config_key_is_string(key))
        return check_string(key, text, why) && store_string(key, object, text, why);
    int64_t value = 0;
    if (!parse_number(key, text, &value, why))
        return false;
    store_number(key, object, value);
    return true;
}

static void choice_text(const char *choices, int64_t index, struct buf *out)
{
    const char *word = choices;

    for (; index > 0; index--) {
        word = strchr(word, ' ');
        CHECK(word != NULL);
        word++;
    }
    buf_append(out, word, strcspn(word, " "));
}

void config_value_text(const struct config_key *key, const void *object, struct buf *out)
{
    if (config_key_is_string(key)) {
        buf_append_str(out, config_value_string(key, object));
        return;
    }
    int64_t value = config_value_number(key, object);
    char text[UNITS_TEXT_SIZE];
    switch (key->kind) {
    case KIND_BOOL:
        buf_append_str(out, value != 0 ? "true" : "false");
        return;
    case KIND_CHOICE:
        choice_text(key->choices, value, out);
        return;
    case KIND_MODE:
        buf_printf(out, "%04" PRIo64, value);
        return;
    case KIND_DURATION:
        units_format_duration(value, text);
        buf_append_str(out, text);
        return;
    case KIND_SIZE:
        units_format_size(value, text);
        buf_append_str(out, text);
        return;
    case KIND_AUTO:
        if (value == 0) {
            buf_append_str(out, "auto");
            return;
        }
        buf_printf(out, "%" PRId64, value);
        return;
    case KIND_NUMBER:
        buf_printf(out, "%" PRId64, value);
        return;
    case KIND_TEXT:
    case KIND_HEADER:
    case KIND_MEDIA_TYPE:
    case KIND_PATH:
    case KIND_ADDRESS:
    case KIND_HOSTS:
    case KIND_WEIGHTS:
    case KIND_SECRET:
    case KIND_USER:
    case KIND_GROUP:
        return; /* strings were dealt with above */
    }
}

bool config_value_equal(const struct config_key *key, const void *a, const void *b)
{
    if (config_key_is_string(key))
        return strcmp(config_value_string(key, a), config_value_string(key, b)) == 0;
    return config_value_number(key, a) == config_value_number(key, b);
}

bool config_object_init(void *object, int first, int end)
{
    char why[CONFIG_WHY_SIZE];

    for (int i = first; i < end; i++) {
        const struct config_key *key = &config_keys[i];
        if (config_value_set(key, object, key->standard, why))
            continue;
        /* Only memory can be missing: test_config sets every default. */
        CHECK(config_key_is_string(key));
        config_object_fini(object, first, end);
        return false;
    }
    return true;
}

void config_object_fini(void *object, int first, int end)
{
    for (int i = first; i < end; i++) {
        if (!config_key_is_string(&config_keys[i]))
            continue;
        char **at = field(&config_keys[i], object);
        free(*at);
        *at = NULL;
    }
}
