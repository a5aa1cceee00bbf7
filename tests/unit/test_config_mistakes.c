/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_config_mistakes - what is a mistake in a configuration, and that each
 * gets one message.
 */
#include "unit/config_loading.h"

/* What a bad file expects is written behind its lines. */
static void check_bad_file(const char *name)
{
    char path[512], line[1024], prefix[640];
    int expected = 0, number = 0;

    (void)snprintf(path, sizeof(path), MUSTER_TESTS_DIR "/conformance/config/%s", name);
    assert_null(load_file(path));
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        number++;
        char *at = strstr(line, "# expect: ");
        if (at == NULL)
            continue;
        at[strcspn(at, "\n")] = '\0';
        at += strlen("# expect: ");
        (void)snprintf(prefix, sizeof(prefix), "%s:%d: ", path, number);
        while (at != NULL) {
            char *next = strstr(at, " | ");
            if (next != NULL)
                *next = '\0';
            bool found = false;
            for (const char *p = mistakes; (p = strstr(p, prefix)) != NULL; p++) {
                const char *hit = strstr(p, at);
                found = found || (hit != NULL && hit < p + strcspn(p, "\n"));
            }
            if (!found)
                fail_msg("%s%s\nis not among:\n%s", prefix, at, mistakes);
            expected++;
            at = next == NULL ? NULL : next + strlen(" | ");
        }
    }
    assert_int_equal(fclose(file), 0);
    if (mistake_count != expected)
        fail_msg("%d mistakes instead of %d:\n%s", mistake_count, expected, mistakes);
}

static void test_bad_files(void **state)
{
    (void)state;
    assert_int_equal(unsetenv("NO_SUCH_VARIABLE_HERE"), 0);
    check_bad_file("bad-values.conf");
    check_bad_file("bad-form.conf");
    check_bad_file("bad-conflicts.conf");
}

/* The list of mistakes is bounded, too, and says so. */
static void test_many_mistakes(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 0);
    for (int i = 0; i < 1000; i++)
        buf_append_str(&text, "nonsense = 1\n");
    buf_append(&text, "", 1);
    assert_null(load_text(text.ptr, NULL));
    assert_int_equal(mistake_count, 1000);
    assert_non_null(strstr(mistakes, "test.conf:200: nonsense: unknown key"));
    assert_null(strstr(mistakes, "test.conf:201: "));
    assert_non_null(strstr(mistakes, "test.conf: 800 more mistakes\n"));
    buf_fini(&text);
}

static void test_forms_that_are_fine(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int workers;
    } cases[] = {
        {"workers=3", 3},
        {"workers = 3", 3},
        {"workers = '3'", 3},
        {"workers = \"3\"", 3},
        {"workers = \"\\063\"", 3},
        {"workers = \"\\x33\"", 3},
        {"workers = \"\\\n3\"", 3},
        {"\xef\xbb\xbfworkers = 3", 3},
        {"workers = 3\r\nmin_workers = 1\r\n", 3},
        {"workers = 3 min_workers = 2", 3},
        {"workers = 3 http { max_headers = 5 } min_workers = 2", 3},
        {"workers = 3 listen \"x\" { port = 5 }", 3},
        {"workers = 3 # comment", 3},
        {"workers = 3 // comment", 3},
        {"workers = 3 /* comment */ min_workers = 2", 3},
        {"#\nworkers = 3\n#", 3},
        {"/* one\n two */ workers = 3 //", 3},
        {"workers = ${MUSTER_TEST_SET}", 7},
        {"workers = \"${MUSTER_TEST_SET}\"", 7},
        {"workers = \"${MUSTER_TEST_SET:-3}\"", 7},
        {"workers = \"${MUSTER_TEST_UNSET:-3}\"", 3},
        {"workers = ${MUSTER_TEST_UNSET:-3}", 3},
        {"workers = \"${MUSTER_TEST_UNSET:-}3\"", 3},
        {"run_dir = \"/a/$b$\" workers = 3", 3},
        {"http\n{\n}\nworkers = 3", 3},
        {"workers = auto", 0},
        {"workers = 0", 0},
        {"", 0},
    };
    assert_int_equal(setenv("MUSTER_TEST_SET", "7", 1), 0);
    assert_int_equal(unsetenv("MUSTER_TEST_UNSET"), 0);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config *config = load_good(cases[i].text, NULL);
        if (config->workers != cases[i].workers)
            fail_msg("%s: %d", cases[i].text, config->workers);
        config_free(&config);
    }
}

static void test_mistakes_of_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *expected;
    } cases[] = {
        {"/* comment", "test.conf:1: the comment that begins here has no end"},
        {"\n\nrun_dir = \"/x", "test.conf:3: the text that begins here has no closing \""},
        {"run_dir = '/x\n", "test.conf:1: the text that begins here has no closing '"},
        {"http {", "test.conf:1: section http is not closed"},
        {"http\n", "test.conf:1: http: its { is missing"},
        {"listen x\n", "listen: there is no = behind the key (or no { behind the section)"},
        {"nothing {", "nothing: unknown section"},
        {"workers = 1 2", "workers: more follows behind the value"},
        {"workers = 1, 2", "workers: more follows behind the value"},
        {"workers = (1)", "workers: this is not a value"},
        {"workers = \001", "test.conf:1: the byte 0x01 does not belong here"},
        {"\"http|max_headers\" = 1", "a key or a section is expected here, without quotes"},
        {"workers = ${MUSTER_TEST_SET}1", "only works inside of double quotes"},
        {"workers = 1${MUSTER_TEST_SET}", "only works inside of double quotes"},
        {"workers = ${", "${ without its }"},
        {"workers = \"${a b}\"", "this is not a variable"},
        {"workers = \"${A:-${B}}\"", "this is not a variable"},
        {"workers = \"${}\"", "this is not a variable"},
        {"run_dir = \"/x\\", "no closing \""},
        {"run_dir = '/x\\", "no closing '"},
        {"run_dir = \"/\\400\"", "this escape is not a byte"},
        {"run_dir = \"/\\1234\"", "this escape is not a byte"},
        {"run_dir = \"/\\9\"", "this escape is not a byte"},
        {"run_dir = \"/\\xg\"", "this escape is not a byte"},
        {"run_dir = \"/\\x00\"", "\\0 would end the text"},
        {"routes = 1", "routes: unknown key; muster.conf(5) lists the keys"},
        {"http.max_headers = 1", "http.max_headers: unknown key; max_headers belongs in section"},
        {"listen \"${MUSTER_TEST_UNSET}\" { port = 5 }", "MUSTER_TEST_UNSET is not set"},
    };
    assert_int_equal(setenv("MUSTER_TEST_SET", "7", 1), 0);
    assert_int_equal(unsetenv("MUSTER_TEST_UNSET"), 0);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (strcmp(cases[i].text, "nothing {") == 0) {
            assert_null(load_text(cases[i].text, NULL));
            assert_int_equal(mistake_count, 2); /* and its { has no } */
            continue;
        }
        expect_mistake(cases[i].text, NULL, cases[i].expected);
    }
}

/* What depends on a refused value is not complained about on top. */
static void test_one_mistake_one_message(void **state)
{
    (void)state;
    expect_mistake("drain_timeout = 10\ndrain_delay = 2m\n", NULL, "drain_timeout = 10: has no");
    expect_mistake("drain_timeout =\ndrain_delay = 2m\n", NULL, "the value is missing");
    expect_mistake("drain_timeout = \"2m\ndrain_delay = 2m\n", NULL, "no closing");
    expect_mistake("management { address = \"0.0.0.0\" token = short }", NULL, "is too short");
    expect_mistake("listen \"a\" { port = 99999 }\nlisten \"b\" { port = 3001 }", NULL,
                   "is too large");
    expect_mistake("listen \"a\" { path = x mode = 0600 }", NULL, "is not an absolute path");
    expect_mistake("route \"/x\" { text = \"\n}", NULL, "no closing");
}

static void test_no_value_of_a_secret_is_shown(void **state)
{
    (void)state;
    static const char *const environment[] = {"MANAGEMENT_TOKEN=geheim", NULL};
    static const char *const texts[] = {
        "management { token = geheim }",   "management { token = geheim token = geheim }",
        "management { token = \"geheim }", "management { token = geheim more }",
        "management { tokn = geheim }",    "management { token = { geheim } }",
        "management { token += geheim }",  "token = geheim",
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        assert_null(load_text(texts[i], NULL));
        if (strstr(mistakes, "geheim") != NULL)
            fail_msg("%s", mistakes);
    }
    expect_mistake("", environment, "environment: MANAGEMENT_TOKEN=(not shown): is too short");
    assert_null(strstr(mistakes, "geheim"));
}

/* Mistakes come in the order of lines, those of the environment last. */
static void test_order_of_mistakes(void **state)
{
    (void)state;
    static const char *const environment[] = {"PORT=abc", NULL};
    assert_null(load_text("workers = 8\nmax_workers = 2\nfoo = 1\nhttp { max_headers = x }\nbar\n",
                          environment));
    static const char *const order[] = {"test.conf:2: ", "test.conf:3: ", "test.conf:4: ",
                                        "test.conf:5: ", "environment: PORT=abc"};
    const char *at = mistakes;
    assert_int_equal(mistake_count, (int)ARRAY_COUNT(order));
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) {
        assert_int_equal(strncmp(at, order[i], strlen(order[i])), 0);
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
    }
}

static void test_too_many_sections(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 0);
    for (int i = 0; i < 9; i++)
        buf_printf(&text, "listen \"l%d\" { port = %d }\n", i, 4000 + i);
    buf_append(&text, "", 1);
    expect_mistake(text.ptr, NULL, "test.conf:9: listen l8: more than 16 addresses to listen on");
    buf_reset(&text);
    for (int i = 0; i < 17; i++)
        buf_printf(&text, "listen \"l%d\" { path = \"/s%d\" }\n", i, i);
    buf_append(&text, "", 1);
    expect_mistake(text.ptr, NULL, "test.conf:17: listen: there are more than 16");
    buf_reset(&text);
    for (int i = 0; i < CONFIG_MAX_ROUTES + 1; i++)
        buf_printf(&text, "route \"/r%d\" { text = x }\n", i);
    buf_append(&text, "", 1);
    expect_mistake(text.ptr, NULL, "test.conf:1025: route: there are more than 1024");
    buf_fini(&text);
}

static void test_addresses_that_do_not_clash(void **state)
{
    (void)state;
    struct config *config = load_good("listen \"a\" { address = \"0.0.0.0\" }\n"
                                      "listen \"b\" { address = \"::\" }\n"
                                      "listen \"c\" { address = \"127.0.0.1\" }\n"
                                      "listen \"d\" { port = 3002 }\n",
                                      NULL);
    config_free(&config);
    expect_mistake("listen \"a\" { }\nlisten \"b\" { address = localhost port = 5 }\n"
                   "listen \"c\" { address = \"0:0::1\" port = 5 }",
                   NULL, "test.conf:3: listen.c.port = 5: address 0:0::1 and this port are taken");
    expect_mistake("run_dir = \"/x\" listen \"a\" { path = \"/x/control.sock\" }", NULL,
                   "is a socket of musterd itself");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_many_mistakes),
        cmocka_unit_test(test_forms_that_are_fine),
        cmocka_unit_test(test_mistakes_of_form),
        cmocka_unit_test(test_one_mistake_one_message),
        cmocka_unit_test(test_no_value_of_a_secret_is_shown),
        cmocka_unit_test(test_order_of_mistakes),
        cmocka_unit_test(test_too_many_sections),
        cmocka_unit_test(test_addresses_that_do_not_clash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
