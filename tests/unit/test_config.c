/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_config - loading: defaults, files, the environment, the token file, and
 * what automatic values become.
 */
#include "unit/config_loading.h"

#include <fcntl.h>
#include <sys/stat.h>

static char directory[] = "/tmp/muster-test-config-XXXXXX";

static const char *in_directory(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static const char *write_file(const char *name, const void *content, size_t len, mode_t mode)
{
    const char *path = in_directory(name);
    (void)unlink(path); /* the one before may be read-only */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
    return path;
}

/* ---- defaults ---- */

static void test_table_is_sound(void **state)
{
    (void)state;
    struct config *config = config_new();
    assert_non_null(config);
    assert_true(config_add_listen(config, "x"));
    assert_true(config_add_route(config, "/x"));
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        struct config_place place = {.key = (enum config_key_id)i};
        void *object = config_place_object(config, place);
        char why[CONFIG_WHY_SIZE] = "";

        /* The kind and the type of the field belong together. */
        switch (key->kind) {
        case KIND_BOOL:
            assert_int_equal(key->type, 'b');
            break;
        case KIND_CHOICE:
            assert_int_equal(key->type, 'e');
            break;
        case KIND_NUMBER:
        case KIND_AUTO:
        case KIND_MODE:
            assert_true(key->type == 'i' || key->type == 'l');
            break;
        case KIND_DURATION:
        case KIND_SIZE:
            assert_int_equal(key->type, 'l');
            break;
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
            assert_int_equal(key->type, 's');
            break;
        }
        if (!config_value_set(key, object, key->standard, why))
            fail_msg("%s.%s: %s", key->section, key->name, why);
        if (key->type == 'i')
            assert_true(key->max <= INT32_MAX);
        assert_true(key->help[0] != '\0' && key->help[strlen(key->help) - 1] == '.');
        assert_int_equal(
            config_find_key(
                (enum config_section)(key->section[0] == '\0'
                                          ? SECTION_TOP
                                          : config_find_section(slice_from_str(key->section))),
                slice_from_str(key->name)),
            i);

        /* The default is written the way it is printed. */
        struct buf text;
        buf_init(&text, 0);
        config_value_text(key, object, &text);
        assert_true(slice_equal_str(buf_slice(&text), key->standard));
        buf_fini(&text);
    }
    config_free(&config);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = load_file(NULL);
    assert_non_null(config);
    assert_string_equal(config->file, "");
    assert_true(config->cluster_enabled);
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->min_workers, 1);
    assert_int_equal(config->max_workers, 0);
    assert_string_equal(config->run_dir, "");
    assert_int_equal(config->report_interval, 1000);
    assert_int_equal(config->start_timeout, 10000);
    assert_int_equal(config->drain_delay, 1000);
    assert_int_equal(config->drain_timeout, 30000);
    assert_int_equal(config->reload_drain_timeout, 60000);
    assert_int_equal(config->drain_idle_grace, 1000);
    assert_int_equal(config->orphan_timeout, 60000);
    assert_int_equal(config->suspect_timeout, 250);
    assert_int_equal(config->stall_timeout, 100);
    assert_int_equal(config->hang_timeout, 30000);
    assert_int_equal(config->restart_backoff_min, 100);
    assert_int_equal(config->restart_backoff_max, 30000);
    assert_int_equal(config->restart_healthy_after, 10000);
    assert_int_equal(config->restart_budget, 0);
    assert_int_equal(config->restart_budget_interval, 10000);
    assert_int_equal(config->http_header_timeout, 10000);
    assert_int_equal(config->http_body_timeout, 15000);
    assert_int_equal(config->http_request_timeout, 30000);
    assert_int_equal(config->http_keepalive_timeout, 75000);
    assert_int_equal(config->http_write_timeout, 30000);
    assert_int_equal(config->http_max_header_bytes, 16384);
    assert_int_equal(config->http_max_line_bytes, 8192);
    assert_int_equal(config->http_max_headers, 100);
    assert_int_equal(config->http_max_body_bytes, 1 << 20);
    assert_int_equal(config->http_max_requests, 0);
    assert_string_equal(config->http_server_header, "muster");
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_int_equal(config->log_format, LOG_FORMAT_TEXT);
    assert_int_equal(config->log_access, ACCESS_LOG_OFF);
    assert_true(config->management_enabled);
    assert_string_equal(config->management_address, "127.0.0.1");
    assert_int_equal(config->management_port, 9001);
    assert_string_equal(config->management_token, "");
    assert_int_equal(config->management_max_connections, 64);
    assert_true(config->metrics_enabled);
    assert_true(config->health_enabled);
    assert_int_equal(config->listen_count, 1);
    assert_string_equal(config->listens[0].name, "default");
    assert_string_equal(config->listens[0].address, "*");
    assert_int_equal(config->listens[0].port, 3001);
    assert_string_equal(config->listens[0].path, "");
    assert_int_equal(config->listens[0].mode, 0666);
    assert_int_equal(config->listens[0].backlog, 4096);
    assert_int_equal(config->route_count, 0);
    config_free(&config);
    assert_null(config);
    config_free(&config);
}

/* ---- files ---- */

static void test_everything_in_a_file(void **state)
{
    (void)state;
    struct config *config = load_file(MUSTER_TESTS_DIR "/conformance/config/good.conf");
    if (config == NULL) {
        fail_msg("%s", mistakes);
        return;
    }
    assert_string_equal(config->file, MUSTER_TESTS_DIR "/conformance/config/good.conf");
    assert_int_equal(config->workers, 4);
    assert_int_equal(config->min_workers, 2);
    assert_int_equal(config->max_workers, 8);
    assert_string_equal(config->run_dir, "/run/muster test");
    assert_string_equal(config->state_dir, "/var/lib/muster#1");
    assert_int_equal(config->report_interval, 2000);
    assert_int_equal(config->restart_budget, 25);
    assert_int_equal(config->http_max_header_bytes, 32768);
    assert_int_equal(config->http_max_body_bytes, 0);
    assert_string_equal(config->http_server_header, "");
    assert_int_equal(config->log_level, LOG_LEVEL_ERROR);
    assert_int_equal(config->log_format, LOG_FORMAT_JSON);
    assert_int_equal(config->log_access, ACCESS_LOG_SAMPLED);
    assert_int_equal(config->log_access_sample, 10);
    assert_string_equal(config->management_token, "0123456789abcdef");
    assert_string_equal(config->management_address, "*");
    assert_int_equal(config->listen_count, 3);
    assert_string_equal(config->listens[0].name, "public");
    assert_string_equal(config->listens[0].address, "*");
    assert_int_equal(config->listens[0].port, 8080);
    assert_int_equal(config->listens[1].port, 8081);
    assert_string_equal(config->listens[1].address, "::1");
    assert_string_equal(config->listens[2].path, "/run/app.sock");
    assert_string_equal(config->listens[2].address, "");
    assert_int_equal(config->listens[2].port, 0);
    assert_int_equal(config->listens[2].mode, 0600);
    assert_int_equal(config->route_count, 4);
    assert_string_equal(config->routes[0].path, "/hello");
    assert_string_equal(config->routes[0].text, "Gr\xc3\xbc\xc3\x9f"
                                                "e,\n\"quoted\"\t$HOME ${X} \\ #1");
    assert_string_equal(config->routes[0].content_type, "text/plain; charset=utf-8");
    assert_int_equal(config->routes[0].status, 200);
    assert_string_equal(config->routes[1].text, "one line, continued");
    assert_int_equal(config->routes[1].status, 503);
    assert_string_equal(config->routes[2].path, "/files/");
    assert_string_equal(config->routes[2].root, "/usr/share");
    assert_string_equal(config->routes[3].text, "single ${not expanded} \\n 'quote'");
    config_free(&config);
}

static void test_unreadable_files(void **state)
{
    (void)state;
    static char large[CONFIG_MAX_FILE + 1];
    const char *fifo;

    assert_null(load_file(in_directory("missing.conf")));
    assert_non_null(strstr(mistakes, "missing.conf: cannot be read: No such file or directory\n"));
    assert_null(load_file(directory));
    assert_non_null(strstr(mistakes, ": is a directory; a configuration is a regular file\n"));
    fifo = in_directory("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_null(load_file(fifo));
    assert_non_null(strstr(mistakes, ": is not a file; a configuration is a regular file\n"));

    assert_null(load_file(write_file("nul.conf", "workers = 2\n\0min_workers = 1\n", 29, 0600)));
    assert_non_null(strstr(mistakes, "nul.conf:2: there is a NUL byte; this is not a text file\n"));

    memset(large, '\n', sizeof(large));
    assert_null(load_file(write_file("large.conf", large, sizeof(large), 0600)));
    assert_non_null(strstr(mistakes, "large.conf: is larger than 1048576 bytes"));
    struct config *config = load_file(write_file("large.conf", large, sizeof(large) - 1, 0600));
    assert_non_null(config);
    config_free(&config);
    config = load_file("/dev/null");
    assert_non_null(config);
    config_free(&config);
    config = load_file(write_file("empty.conf", "", 0, 0600));
    assert_non_null(config);
    config_free(&config);
}

/* ---- the environment ---- */

static void test_environment(void **state)
{
    (void)state;
    static const char *const environment[] = {"CLUSTER_WORKERS=0",
                                              "MIN_INSTANCES=2",
                                              "MAX_INSTANCES=6",
                                              "CLUSTER_ENABLED=no",
                                              "PORT=8080",
                                              "MANAGEMENT_PORT=9100",
                                              "MANAGEMENT_TOKEN=abcdefghijklmnop",
                                              "MUSTER_RUN_DIR=/run/other",
                                              "MUSTER_STATE_DIR=",
                                              "MUSTER_LOG_LEVEL=debug",
                                              "LB_ALGORITHM=ip-hash",
                                              "MUSTER_LOG_FORMAT=json",
                                              "METRICS_ENABLED=0",
                                              "HEALTH_CHECKS_ENABLED=OFF",
                                              "AUTO_SCALING_ENABLED=whatever",
                                              "PORTS=1",
                                              "broken",
                                              NULL};
    struct config *config = load_good("workers = 4\nstate_dir = \"/var/x\"\n", environment);
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->min_workers, 2);
    assert_int_equal(config->max_workers, 6);
    assert_false(config->cluster_enabled);
    assert_int_equal(config->listens[0].port, 8080);
    assert_int_equal(config->management_port, 9100);
    assert_string_equal(config->management_token, "abcdefghijklmnop");
    assert_string_equal(config->run_dir, "/run/other");
    assert_string_equal(config->state_dir, "/var/x"); /* empty counts as not set */
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(config->balance_algorithm, BALANCE_IP_HASH);
    assert_int_equal(config->log_format, LOG_FORMAT_JSON);
    assert_false(config->metrics_enabled);
    assert_false(config->health_enabled);
    config_free(&config);
}

static void test_environment_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *variable;
        const char *expected;
    } cases[] = {
        {"", "PORT=abc",
         "environment: PORT=abc: is not a number; accepted is a number from 1 to 65535\n"},
        {"", "PORT=0", "environment: PORT=0: is too small"},
        {"", "CLUSTER_WORKERS=-1", "environment: CLUSTER_WORKERS=-1: must not be negative"},
        {"", "METRICS_ENABLED=2", "environment: METRICS_ENABLED=2: is neither true nor false"},
        {"", "LB_ALGORITHM=random",
         "environment: LB_ALGORITHM=random: is not one of the words known here; accepted is "
         "round-robin, weighted, least-connections, ip-hash or consistent-hash"},
        {"", "MUSTER_LOG_LEVEL=LOUD", "environment: MUSTER_LOG_LEVEL=LOUD: is not one of"},
        {"", "MUSTER_RUN_DIR=run", "environment: MUSTER_RUN_DIR=run: is not an absolute path"},
        {"", "PORT=9001",
         "environment: PORT=9001: is the same as management.port = 9001 (the default)"},
        {"workers = 4", "MAX_INSTANCES=2",
         "environment: MAX_INSTANCES=2: does not go with workers = 4 (line 1)"},
        {"listen \"a\" { port = 1 } listen \"b\" { port = 2 }", "PORT=3",
         "environment: PORT=3: there are 2 listen sections with a port"},
        {"listen \"a\" { path = \"/a\" }", "PORT=3",
         "environment: PORT=3: no listen section has a port"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char variable[64];
        (void)snprintf(variable, sizeof(variable), "%s", cases[i].variable);
        const char *const environment[] = {variable, NULL};
        expect_mistake(cases[i].text, environment, cases[i].expected);
    }

    /* The one TCP section among others is found. */
    static const char *const environment[] = {"PORT=3", NULL};
    struct config *config =
        load_good("listen \"a\" { path = \"/a\" } listen \"b\" { port = 2 }", environment);
    assert_int_equal(config->listens[0].port, 0);
    assert_int_equal(config->listens[1].port, 3);
    config_free(&config);
}

/* ---- the token file ---- */

static void check_token_file(const char *content, size_t len, mode_t mode, const char *expected)
{
    char text[512];
    const char *path = write_file("token", content, len, mode);
    (void)snprintf(text, sizeof(text), "management { address = \"*\"\ntoken_file = \"%s\" }", path);
    if (expected != NULL) {
        expect_mistake(text, NULL, expected);
        assert_non_null(strstr(mistakes, "test.conf:2: management.token_file = /"));
        assert_null(strstr(mistakes, "geheim"));
        return;
    }
    struct config *config = load_good(text, NULL);
    assert_string_equal(config->management_token, "0123456789abcdef");
    assert_string_equal(config->management_token_file, path);
    config_free(&config);
}

static void test_token_file(void **state)
{
    (void)state;
    static const char *const environment[] = {"MANAGEMENT_TOKEN=abcdefghijklmnop", NULL};
    static char big[600];
    char text[512];

    check_token_file("0123456789abcdef", 16, 0600, NULL);
    check_token_file("0123456789abcdef\n", 17, 0400, NULL);
    check_token_file("0123456789abcdef\r\n", 18, 0600, NULL);
    check_token_file("0123456789abcdef", 16, 0640, "is open to others than its owner");
    check_token_file("0123456789abcdef", 16, 0604, "is open to others than its owner");
    check_token_file("geheim\n", 7, 0600, "the token in it is too short to be safe");
    check_token_file("geheim geheim geheim\n", 21, 0600, "has a character that is not allowed");
    check_token_file("geheimgeheimgeheim\nsecond line\n", 31, 0600, "does not hold one line");
    check_token_file("geheimgeheim\0geheim", 19, 0600, "does not hold one line");
    check_token_file("", 0, 0600, "does not hold one line");
    memset(big, 'x', sizeof(big));
    check_token_file(big, sizeof(big), 0600, "the token in it is too long");

    expect_mistake("management { token_file = \"/no/such/file\" }", NULL,
                   "management.token_file = /no/such/file: cannot be read: No such file");
    expect_mistake("management { token_file = \"/tmp\" }", NULL, "is not a regular file");
    expect_mistake("management { token_file = \"/dev/null\" }", NULL, "is not a regular file");
    expect_mistake("management { token = 0123456789abcdef\ntoken_file = \"/no/such/file\" }", NULL,
                   "token is set, too, on line 1; keep one of them");

    /* The variable comes first, and then nobody reads the file. */
    (void)snprintf(text, sizeof(text), "management { token_file = \"/no/such/file\" }");
    struct config *config = load_good(text, environment);
    assert_string_equal(config->management_token, "abcdefghijklmnop");
    config_free(&config);
}

/* ---- management and resolved values ---- */

static void test_management(void **state)
{
    (void)state;
    static const char *const loopback[] = {"127.0.0.1", "127.1.2.3", "::1", "localhost", ""};
    static const char *const open[] = {"*",  "0.0.0.0",     "10.0.0.1",
                                       "::", "2001:db8::1", "::ffff:127.0.0.1"};
    char text[256];

    for (size_t i = 0; i < ARRAY_COUNT(loopback); i++) {
        (void)snprintf(text, sizeof(text), "management { address = \"%s\" }", loopback[i]);
        struct config *config = load_good(text, NULL);
        assert_string_equal(config->management_address, loopback[i]);
        config_free(&config);
    }
    for (size_t i = 0; i < ARRAY_COUNT(open); i++) {
        (void)snprintf(text, sizeof(text), "management { address = \"%s\" }", open[i]);
        expect_mistake(text, NULL, "there is no token");
        (void)snprintf(text, sizeof(text),
                       "management { address = \"%s\" token = 0123456789abcdef }", open[i]);
        struct config *config = load_good(text, NULL);
        config_free(&config);
        (void)snprintf(text, sizeof(text), "management { enabled = false address = \"%s\" }",
                       open[i]);
        config = load_good(text, NULL);
        assert_false(config->management_enabled);
        assert_string_equal(config->management_address, "");
        config_free(&config);
    }
    expect_mistake("listen \"x\" { address = \"127.0.0.1\" port = 9001 }", NULL,
                   "listen.x.port = 9001: is the same as management.port = 9001 (the default)");
    struct config *config = load_good("listen \"x\" { address = \"10.0.0.1\" port = 9001 }", NULL);
    config_free(&config);
}

static void test_worker_counts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int cpus;
        int count;
        int max;
    } cases[] = {
        {"", 1, 1, 4},
        {"", 2, 2, 4},
        {"", 8, 8, 16},
        {"", 4096, 1024, 1024},
        {"workers = 3", 8, 3, 16},
        {"workers = 300", 8, 300, 300},
        {"min_workers = 4", 2, 4, 4},
        {"min_workers = 40", 2, 40, 40},
        {"max_workers = 2", 8, 2, 2},
        {"cluster_enabled = false workers = 5", 8, 1, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config *config = load_good(cases[i].text, NULL);
        assert_int_equal(config_worker_count(config, cases[i].cpus), cases[i].count);
        assert_int_equal(config_max_workers(config, cases[i].cpus), cases[i].max);
        config_free(&config);
    }
}

static void test_default_run_dir(void **state)
{
    (void)state;
    static const char *const with[] = {"XDG_RUNTIME_DIR=/run/user/1", NULL};
    static const char *const relative[] = {"XDG_RUNTIME_DIR=run", NULL};
    char own[64], out[64], small[16];

    (void)snprintf(own, sizeof(own), geteuid() == 0 ? "/run/muster" : "/tmp/muster-%lu",
                   (unsigned long)geteuid());
    config_default_run_dir(NULL, out, sizeof(out));
    assert_string_equal(out, own);
    config_default_run_dir((char *const *)relative, out, sizeof(out));
    assert_string_equal(out, own);
    config_default_run_dir((char *const *)with, out, sizeof(out));
    assert_string_equal(out, geteuid() == 0 ? own : "/run/user/1/muster");
    config_default_run_dir((char *const *)with, small, sizeof(small));
    assert_true(strlen(small) < sizeof(small));
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"fifo", "nul.conf", "large.conf", "empty.conf", "token"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        (void)unlink(in_directory(names[i]));
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_sound),       cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_everything_in_a_file), cmocka_unit_test(test_unreadable_files),
        cmocka_unit_test(test_environment),          cmocka_unit_test(test_environment_mistakes),
        cmocka_unit_test(test_token_file),           cmocka_unit_test(test_management),
        cmocka_unit_test(test_worker_counts),        cmocka_unit_test(test_default_run_dir),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
