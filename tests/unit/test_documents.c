/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_documents - one question for all who wait, freshness, and a master that is away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/documents.h"

#include <errno.h>
#include <string.h>

#define MS(ms) ((ms)*INT64_C(1000000))

struct fixture {
    struct documents *documents;
    int ask_result;
    int asked;
    uint32_t last_id;
    enum view last_view;
    int64_t wake_ns;
};

struct client {
    struct document_waiter waiter;
    struct fixture *fixture;
    int called;
    int status; /* -1: there was no document */
    bool stale;
    bool asks_again;
    struct client *removes; /* when called */
};

static int ask(void *context, uint32_t id, enum view view, enum view_format format)
{
    (void)format;
    struct fixture *fixture = context;
    fixture->asked++;
    fixture->last_id = id;
    fixture->last_view = view;
    return fixture->ask_result;
}

static void wake_at(void *context, int64_t at_ns)
{
    ((struct fixture *)context)->wake_ns = at_ns;
}

static bool get(struct client *client, int64_t now_ns, const struct document **out, bool *stale)
{
    return documents_get(client->fixture->documents, VIEW_HEALTH, VIEW_FORMAT_DEFAULT, now_ns,
                         &client->waiter, out, stale);
}

static void on_document(struct document_waiter *waiter, const struct document *document, bool stale)
{
    struct client *client = (struct client *)waiter; /* the first member */
    client->called++;
    client->status = document != NULL ? document->status : -1;
    client->stale = stale;
    if (client->removes != NULL)
        documents_leave(client->fixture->documents, &client->removes->waiter);
    if (client->asks_again) {
        client->asks_again = false;
        const struct document *again;
        bool again_stale;
        assert_false(get(client, MS(10000), &again, &again_stale));
    }
}

static void set_up(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    const struct documents_hooks hooks = {ask, wake_at, fixture};
    fixture->documents = documents_new(&hooks);
    assert_non_null(fixture->documents);
}

static struct client new_client(struct fixture *fixture)
{
    return (struct client){.waiter = {.on_document = on_document}, .fixture = fixture};
}

static void reply(struct fixture *fixture, int status, int64_t now_ns)
{
    documents_reply(fixture->documents, fixture->last_id, status, "application/json",
                    SLICE_LITERAL("{}"), now_ns);
}

static void test_single_flight(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct client clients[3];
    const struct document *document;
    bool stale;
    for (int i = 0; i < 3; i++) {
        clients[i] = new_client(&fixture);
        assert_false(get(&clients[i], MS(1000), &document, &stale));
    }
    assert_int_equal(fixture.asked, 1);
    assert_int_equal(fixture.last_view, VIEW_HEALTH);
    assert_int_equal(fixture.wake_ns, MS(1000 + DOCUMENTS_PATIENCE_MS));
    documents_leave(fixture.documents, &clients[1].waiter);
    documents_leave(fixture.documents, &clients[1].waiter);
    documents_reply(fixture.documents, fixture.last_id + 1, 500, "x", SLICE_LITERAL("x"), MS(1000));
    assert_int_equal(clients[0].called, 0); /* an answer to something else */
    reply(&fixture, 200, MS(1010));
    assert_int_equal(clients[0].called + clients[2].called, 2);
    assert_int_equal(clients[0].status, 200);
    assert_false(clients[0].stale);
    assert_int_equal(clients[1].called, 0);
    reply(&fixture, 500, MS(1010)); /* a second answer is ignored */

    assert_true(get(&clients[0], MS(1010 + DOCUMENTS_FRESH_MS) - 1, &document, &stale));
    assert_int_equal(document->status, 200);
    assert_string_equal(document->type, "application/json");
    assert_false(stale);
    assert_false(get(&clients[0], MS(1010 + DOCUMENTS_FRESH_MS), &document, &stale));
    assert_int_equal(fixture.asked, 2);
    documents_leave(fixture.documents, &clients[0].waiter);
    documents_free(&fixture.documents);
}

static void test_patience(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct client client = new_client(&fixture);
    const struct document *document;
    bool stale;
    assert_false(get(&client, 0, &document, &stale));
    documents_expire(fixture.documents, MS(DOCUMENTS_PATIENCE_MS) - 1);
    assert_int_equal(client.called, 0);
    assert_int_equal(fixture.wake_ns, MS(DOCUMENTS_PATIENCE_MS));
    documents_expire(fixture.documents, MS(DOCUMENTS_PATIENCE_MS));
    assert_int_equal(client.called, 1);
    assert_int_equal(client.status, -1); /* it was never heard */
    assert_true(client.stale);

    /* What comes late is for the next question, which is another one. */
    uint32_t late = fixture.last_id;
    assert_false(get(&client, MS(1000), &document, &stale));
    documents_reply(fixture.documents, late, 500, "x", SLICE_LITERAL("late"), MS(1001));
    assert_int_equal(client.called, 1);
    reply(&fixture, 200, MS(1002));
    assert_int_equal(client.called, 2);

    /* Now there is something to fall back on. */
    assert_false(get(&client, MS(5000), &document, &stale));
    documents_expire(fixture.documents, MS(9000));
    assert_int_equal(client.called, 3);
    assert_int_equal(client.status, 200);
    assert_true(client.stale);
    documents_free(&fixture.documents);
}

static void test_no_master(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct client client = new_client(&fixture);
    const struct document *document;
    bool stale;
    fixture.ask_result = -ENOTCONN;
    assert_true(get(&client, 0, &document, &stale));
    assert_null(document);
    assert_true(stale);

    fixture.ask_result = 0;
    assert_false(get(&client, 0, &document, &stale));
    reply(&fixture, 200, 0);
    assert_false(get(&client, MS(1000), &document, &stale));
    documents_give_up(fixture.documents);
    assert_int_equal(client.called, 2);
    assert_int_equal(client.status, 200);
    assert_true(client.stale);
    fixture.ask_result = -ENOTCONN;
    assert_true(get(&client, MS(1000), &document, &stale));
    assert_int_equal(document->status, 200);
    assert_true(stale);
    documents_free(&fixture.documents);
}

static void test_invalidating(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct client client = new_client(&fixture);
    const struct document *document;
    bool stale;
    assert_false(get(&client, 0, &document, &stale));
    reply(&fixture, 200, 0);
    documents_invalidate(fixture.documents, false);
    assert_false(get(&client, 1, &document, &stale)); /* young, but not fresh any more */
    documents_give_up(fixture.documents);
    assert_int_equal(client.status, 200);

    documents_invalidate(fixture.documents, true);
    fixture.ask_result = -ENOTCONN;
    assert_true(get(&client, 2, &document, &stale));
    assert_null(document); /* "ok" from before a drain must not be shown, however stale */
    documents_free(&fixture.documents);
}

static void test_callbacks_that_change_the_queue(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct client first = new_client(&fixture), second = new_client(&fixture),
                  third = new_client(&fixture);
    const struct document *document;
    bool stale;
    assert_false(get(&first, MS(1000), &document, &stale));
    assert_false(get(&second, MS(1000), &document, &stale));
    assert_false(get(&third, MS(1000), &document, &stale));
    first.asks_again = true; /* by then the answer is too old */
    first.removes = &second;
    reply(&fixture, 200, MS(1000));
    assert_int_equal(first.called, 1);
    assert_int_equal(second.called, 0);
    assert_int_equal(third.called, 1);
    assert_int_equal(fixture.asked, 2);
    first.removes = NULL;
    reply(&fixture, 503, MS(10001));
    assert_int_equal(first.called, 2);
    assert_int_equal(first.status, 503);
    documents_free(&fixture.documents);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_flight),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_no_master),
        cmocka_unit_test(test_invalidating),
        cmocka_unit_test(test_callbacks_that_change_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
