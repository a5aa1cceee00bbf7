/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_config_docs - the example configuration and the manual page say what
 * the table of keys says.
 *
 * Between its two markers each of them has text made from the table. With
 * MUSTER_REWRITE_DOCS=1 in the environment this program writes it.
 */
#include "unit/config_loading.h"

#define EXAMPLE MUSTER_TESTS_DIR "/../scripts/deploy/muster.conf"
#define MANUAL MUSTER_TESTS_DIR "/../scripts/man/muster.conf.5"

static const char example_begin[] = "# ---- every key, with its default ----\n\n";
static const char example_end[] = "\n# ---- end of the keys ----\n";
static const char manual_begin[] = ".\\\" keys: begin\n";
static const char manual_end[] = ".\\\" keys: end\n";

static void read_document(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        fail_msg("%s cannot be opened", path);
    buf_init(out, 0);
    char *at;
    size_t got = 1;
    while (got > 0 && (at = buf_reserve(out, 4096)) != NULL) {
        got = fread(at, 1, 4096, file);
        out->len += got;
    }
    buf_append(out, "", 1);
    assert_false(buf_failed(out));
    assert_int_equal(fclose(file), 0);
}

/* Compares what is between the markers, or puts it there. */
static void check_region(const char *path, const char *begin, const char *end, struct buf *wanted)
{
    struct buf document;
    read_document(path, &document);
    char *from = strstr(document.ptr, begin);
    assert_non_null(from);
    from += strlen(begin);
    char *to = strstr(from, end);
    assert_non_null(to);

    if (getenv("MUSTER_REWRITE_DOCS") != NULL) {
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        (void)fwrite(document.ptr, 1, (size_t)(from - document.ptr), file);
        (void)fwrite(wanted->ptr, 1, wanted->len, file);
        (void)fputs(to, file);
        assert_int_equal(fclose(file), 0);
    } else if (!slice_equal(slice_from(from, (size_t)(to - from)), buf_slice(wanted))) {
        fail_msg("%s is not up to date; run this test with MUSTER_REWRITE_DOCS=1", path);
    }
    buf_fini(&document);
}

static void test_example_is_up_to_date(void **state)
{
    (void)state;
    struct config *config = load_file(NULL);
    assert_non_null(config);
    struct buf wanted;
    buf_init(&wanted, 0);
    config_print(config, CONFIG_PRINT_PEOPLE, &wanted);
    check_region(EXAMPLE, example_begin, example_end, &wanted);
    buf_fini(&wanted);
    config_free(&config);
}

static void on_change(void *context, const char *key, const char *before, const char *after,
                      bool live)
{
    (void)context;
    (void)live;
    fail_msg("%s is %s in the example and %s by default", key, after, before);
}

static void test_example_loads_as_the_defaults(void **state)
{
    (void)state;
    struct config *defaults = load_file(NULL);
    assert_non_null(defaults);
    struct config *example = load_file(EXAMPLE);
    if (example == NULL)
        fail_msg("%s", mistakes);
    assert_int_equal(config_compare(defaults, example, on_change, NULL), 0);
    config_free(&example);
    config_free(&defaults);
}

/* Whether the example assigns the key, commented out or not. */
static bool example_assigns(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = text; (p = strstr(p, name)) != NULL; p += len) {
        const char *before = p;
        while (before > text && (before[-1] == ' ' || before[-1] == '#'))
            before--;
        if ((before == text || before[-1] == '\n') && strncmp(p + len, " = ", 3) == 0)
            return true;
    }
    return false;
}

static void test_example_has_every_key(void **state)
{
    (void)state;
    struct buf text;
    read_document(EXAMPLE, &text);
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (!example_assigns(text.ptr, config_keys[i].name))
            fail_msg("%s.%s is not in the example", config_keys[i].section, config_keys[i].name);
    }
    buf_fini(&text);
}

/* ---- the manual ---- */

static void roff(const char *text, struct buf *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            buf_append_str(out, "\\e");
        else if (*text == '-')
            buf_append_str(out, "\\-");
        else
            buf_append(out, text, 1);
    }
}

static void roff_key(const struct config_key *key, struct buf *out)
{
    struct buf facts;
    buf_init(&facts, 0);
    config_describe_facts(key, &facts);
    buf_append(&facts, "", 1);
    buf_printf(out, ".TP\n.B %s\n\\&", key->name);
    roff(key->help, out);
    buf_append_str(out, "\n.br\n\\&");
    roff(facts.ptr, out);
    buf_append_str(out, "\n");
    buf_fini(&facts);
}

static void roff_section(enum config_section section, struct buf *out)
{
    const char *name = config_section_names[section];

    buf_append_str(out, ".SS ");
    if (section == SECTION_TOP)
        buf_append_str(out, "Outside of sections\n");
    else
        buf_printf(out, "%s%s { ... }\n", name,
                   section == SECTION_LISTEN  ? " \\(dqname\\(dq"
                   : section == SECTION_ROUTE ? " \\(dq/path\\(dq"
                                              : "");
    roff(config_section_help[section], out);
    buf_append_str(out, ".\n");
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (strcmp(config_keys[i].section, name) == 0)
            roff_key(&config_keys[i], out);
    }
}

static void test_manual_is_up_to_date(void **state)
{
    (void)state;
    struct buf wanted;
    buf_init(&wanted, 0);
    for (int i = 0; i < CONFIG_SECTION_COUNT; i++)
        roff_section((enum config_section)i, &wanted);
    assert_false(buf_failed(&wanted));
    check_region(MANUAL, manual_begin, manual_end, &wanted);
    buf_fini(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_is_up_to_date),
        cmocka_unit_test(test_example_loads_as_the_defaults),
        cmocka_unit_test(test_example_has_every_key),
        cmocka_unit_test(test_manual_is_up_to_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
