/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_config_print - what is printed reads back as the same, and what two
 * configurations differ in.
 */
#include "unit/config_loading.h"

static struct config *read_back(const struct config *config, enum config_print_mode mode,
                                struct buf *text)
{
    struct config_errors errors;
    config_errors_init(&errors);
    config_print(config, mode, text);
    assert_false(buf_failed(text));
    struct config *back = config_parse_text(buf_slice(text), &errors);
    keep_mistakes(&errors);
    if (back == NULL)
        fail_msg("%.*s\n%s", (int)text->len, text->ptr, mistakes);
    return back;
}

static void fail_on_change(void *context, const char *key, const char *before, const char *after,
                           bool live)
{
    (void)context;
    (void)live;
    fail_msg("%s: %s became %s", key, before, after);
}

static void check_round_trip(const struct config *config)
{
    struct buf wire, again, people;
    buf_init(&wire, 0);
    buf_init(&again, 0);
    buf_init(&people, 0);

    struct config *back = read_back(config, CONFIG_PRINT_WIRE, &wire);
    assert_int_equal(config_compare(config, back, fail_on_change, NULL), 0);
    assert_string_equal(back->management_token, config->management_token);
    struct config *twice = read_back(back, CONFIG_PRINT_WIRE, &again);
    assert_true(slice_equal(buf_slice(&wire), buf_slice(&again)));
    config_free(&twice);
    config_free(&back);

    back = read_back(config, CONFIG_PRINT_PEOPLE, &people);
    assert_string_equal(back->management_token, "");
    int differences = config->management_token[0] == '\0' ? 0 : 1;
    assert_int_equal(config_compare(config, back, NULL, NULL), differences);
    config_free(&back);
    buf_fini(&wire);
    buf_fini(&again);
    buf_fini(&people);
}

static void test_round_trips(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "management { enabled = false }",
        "management { address = \"\" }",
        "management { address = \"*\" token = \"0123456789abcdef\\\"\\\\\\$\" }",
        "listen \"u\" { path = \"/a b\" mode = 0600 backlog = 7 }",
        "listen \"u\" { path = \"/a\" }\nlisten \"t\" { port = 1 address = localhost }",
        "route \"/a/\" { root = \"/tmp\" }\nroute \"/\" { text = \"\" status = 204 }",
        "workers = 2 max_workers = 9 open_files = 99999 restart { budget = 3 }",
        "log { access = all level = warning file = \"/a\" }",
        "run_dir = \"/a\xff\xfe\xc3\xbc\" http { server_header = '\"${x}\" \\ {#}' }",
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct config *config = load_good(texts[i], NULL);
        check_round_trip(config);
        config_free(&config);
    }
    struct config *config = load_file(MUSTER_TESTS_DIR "/conformance/config/good.conf");
    assert_non_null(config);
    check_round_trip(config);
    config_free(&config);
}

/* ---- random texts ---- */

static uint64_t random_state = 88172645463325252U;

static unsigned next_random(unsigned limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % limit;
}

/* Bytes that mean something to somebody, more often than others. */
static void random_text(char *out, size_t size, bool any_byte)
{
    static const char odd[] = "\"\\'${}#=+(),/*\n\r\t :-;abcxXnr0123456789\x01\x1b\x7f\xc3\xbc\xff";
    size_t len = next_random((unsigned)size);
    for (size_t i = 0; i < len; i++) {
        char c =
            next_random(4) == 0 ? (char)(1 + next_random(255)) : odd[next_random(sizeof(odd) - 1)];
        out[i] = !any_byte && (c < 0x20 || c == 0x7f) ? '$' : c;
    }
    out[len] = '\0';
}

/* Any value that a key can have survives being printed and read. */
static void test_odd_strings_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        char why[CONFIG_WHY_SIZE], text[40], path[48];
        struct config *config = config_new();
        assert_non_null(config);
        assert_true(config_add_listen(config, "unix"));
        assert_true(config_add_route(config, "/odd"));
        random_text(text, sizeof(text), true);
        assert_true(config_value_set(&config_keys[KEY_ROUTE_TEXT], &config->routes[0], text, why));
        path[0] = '/';
        random_text(path + 1, sizeof(path) - 1, false);
        /* Not every random text is a path; the keys that refuse it keep their default. */
        (void)!config_value_set(&config_keys[KEY_LISTEN_PATH], &config->listens[0], path, why);
        if (config->listens[0].path[0] != '\0') {
            config->listens[0].port = 0;
            assert_int_equal(strlen(config->listens[0].address), 1);
            config->listens[0].address[0] = '\0';
        }
        random_text(text, sizeof(text), false);
        (void)!config_value_set(&config_keys[KEY_HTTP_SERVER_HEADER], config, text, why);
        (void)!config_value_set(&config_keys[KEY_MANAGEMENT_TOKEN], config, text, why);
        check_round_trip(config);
        config_free(&config);
    }
}

/* ---- for people ---- */

static void test_origins_are_shown(void **state)
{
    (void)state;
    static const char *const environment[] = {"CLUSTER_WORKERS=3", "PORT=8080",
                                              "MANAGEMENT_TOKEN=geheimgeheimgeheim", NULL};
    struct config *config =
        load_good("min_workers = 2\nhttp {\n    max_headers = 50\n}\nlisten \"x\" {\n"
                  "    address = \"127.0.0.1\"\n}\nroute \"/y\" {\n text = \"z\"\n}\n",
                  environment);
    static const char *const lines[] = {
        "\nworkers = 3  # environment CLUSTER_WORKERS\n",
        "\nmin_workers = 2  # test.conf:1\n",
        "\nmax_workers = auto\n",
        "\n    max_headers = 50  # test.conf:3\n",
        "\n    # token = (set)  # environment MANAGEMENT_TOKEN\n",
        "\nlisten \"x\" {\n",
        "\n    address = \"127.0.0.1\"  # test.conf:6\n",
        "\n    port = 8080  # environment PORT\n",
        "\n    text = \"z\"  # test.conf:9\n",
    };
    struct buf text;
    buf_init(&text, 0);
    config_print(config, CONFIG_PRINT_PEOPLE, &text);
    buf_append(&text, "", 1);
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        if (strstr(text.ptr, lines[i]) == NULL)
            fail_msg("%s is not in\n%s", lines[i], text.ptr);
    }
    assert_null(strstr(text.ptr, "geheim"));
    buf_reset(&text);
    config_print(config, CONFIG_PRINT_WIRE, &text);
    buf_append(&text, "", 1);
    assert_non_null(strstr(text.ptr, "    token = \"geheimgeheimgeheim\"\n"));
    assert_null(strstr(text.ptr, "#"));
    buf_fini(&text);
    config_free(&config);
}

/* Printed for people, a configuration is a file that loads. */
static void test_people_print_is_a_file(void **state)
{
    (void)state;
    struct config *config = load_file(MUSTER_TESTS_DIR "/conformance/config/good.conf");
    assert_non_null(config);
    static const char *const environment[] = {"MANAGEMENT_TOKEN=0123456789abcdef", NULL};
    struct buf text;
    buf_init(&text, 0);
    config_print(config, CONFIG_PRINT_PEOPLE, &text);
    buf_append(&text, "", 1);
    struct config *again = load_good(text.ptr, environment);
    assert_int_equal(config_compare(config, again, fail_on_change, NULL), 0);
    config_free(&again);
    config_free(&config);
    buf_fini(&text);
}

/* A neighbour in version may know more keys, sections and kinds of listen. */
static void test_unknown_keys_are_skipped(void **state)
{
    (void)state;
    static const char text[] =
        "workers = 2\nfrom_the_future = \"x\"\nfuture { a = 1 b { c = 2 } }\n"
        "listen \"x\" { port = 5 tls = true }\nfuture \"named\" { }\n";
    struct config_errors errors;
    config_errors_init(&errors);
    struct config *config = config_parse_text(SLICE_LITERAL(text), &errors);
    keep_mistakes(&errors);
    if (config == NULL) {
        fail_msg("%s", mistakes);
        return;
    }
    assert_int_equal(config->workers, 2);
    assert_int_equal(config->listens[0].port, 5);
    config_free(&config);

    /* What it knows must still be right. */
    config_errors_init(&errors);
    assert_null(config_parse_text(SLICE_LITERAL("workers = x"), &errors));
    keep_mistakes(&errors);
    assert_string_equal(mistakes, "configuration:1: workers = x: is not a number; accepted is "
                                  "auto, or a number from 1 to 1024\n");
}

/* A worker does not check what only the master can know, nor opens its files. */
static void test_wire_needs_no_file(void **state)
{
    (void)state;
    static const char text[] = "management { token = \"0123456789abcdef\" token_file = \"/none\" }"
                               "user = \"no-such-account-here\"";
    struct config_errors errors;
    config_errors_init(&errors);
    struct config *config = config_parse_text(SLICE_LITERAL(text), &errors);
    keep_mistakes(&errors);
    if (config == NULL) {
        fail_msg("%s", mistakes);
        return;
    }
    assert_string_equal(config->management_token, "0123456789abcdef");
    config_free(&config);
}

/* ---- comparing ---- */

struct change {
    const char *text;
    const char *change; /* "key: before -> after, live" */
};

static void on_change(void *context, const char *key, const char *before, const char *after,
                      bool live)
{
    buf_printf(context, "%s: %s -> %s%s\n", key, before, after, live ? ", live" : "");
}

static void test_compare(void **state)
{
    (void)state;
    static const char base[] = "management { token = 0123456789abcdef }\n"
                               "listen \"a\" { port = 1 }\nlisten \"u\" { path = \"/u\" }\n"
                               "route \"/r\" { text = \"x\" }\n";
    static const struct change cases[] = {
        {base, ""},
        {"management { token = 0123456789abcdef }\nlisten \"u\" { path = \"/u\" }\n"
         "listen \"a\" { port = 1 }\nroute \"/r\" { text = \"x\" }\n",
         ""},
        {"management { token = fedcba9876543210 }\nlisten \"a\" { port = 2 }\n"
         "listen \"u\" { path = \"/u\" mode = 0600 }\nroute \"/r\" { text = \"y\\n\\e\" }\n"
         "workers = 5 max_workers = 6\nlog { file = \"/l\" access = all }\nhttp { max_body_bytes = "
         "2m }\n",
         "workers: auto -> 5, live\n"
         "max_workers: auto -> 6\n"
         "http.max_body_bytes: 1m -> 2m, live\n"
         "log.file: \"\" -> \"/l\", live\n"
         "log.access: off -> all, live\n"
         "management.token: (set) -> (set), live\n"
         "listen.a.port: 1 -> 2\n"
         "listen.u.mode: 0666 -> 0600\n"
         "route./r.text: \"x\" -> \"y\\n\\x1b\", live\n"},
        {"listen \"b\" { port = 1 }\nlisten \"u\" { port = 2 }\nroute \"/s\" { text = \"x\" }\n",
         "management.token: (set) -> (not set), live\n"
         "listen.a: (present) -> (absent)\n"
         "listen.u.address: \"\" -> \"*\"\n"
         "listen.u.port: 0 -> 2\n"
         "listen.u.path: \"/u\" -> \"\"\n"
         "listen.b: (absent) -> (present)\n"
         "route./r: (present) -> (absent), live\n"
         "route./s: (absent) -> (present), live\n"},
    };
    struct config *before = load_good(base, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config *after = load_good(cases[i].text, NULL);
        struct buf changes;
        buf_init(&changes, 0);
        int count = config_compare(before, after, on_change, &changes);
        buf_append(&changes, "", 1);
        assert_string_equal(changes.ptr, cases[i].change);
        int lines = 0;
        for (const char *p = cases[i].change; *p != '\0'; p++)
            lines += *p == '\n' ? 1 : 0;
        assert_int_equal(count, lines);
        buf_fini(&changes);
        config_free(&after);
    }
    config_free(&before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_odd_strings_round_trip),
        cmocka_unit_test(test_origins_are_shown),
        cmocka_unit_test(test_people_print_is_a_file),
        cmocka_unit_test(test_unknown_keys_are_skipped),
        cmocka_unit_test(test_wire_needs_no_file),
        cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
