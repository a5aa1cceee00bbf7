/* SPDX-License-Identifier: BSD-2-Clause
 *
 * documents - the cache, and the single question on its way.
 */
#include "worker/documents.h"

#include <stdio.h>

enum { FORMAT_COUNT = VIEW_FORMAT_OPENMETRICS + 1 };

/* Owned by the cache. */
struct entry {
    struct document document; /* body NULL: never heard */
    int64_t heard_ns;
    bool fresh;  /* nothing has happened since */
    uint32_t id; /* of the question on its way; 0: none */
    int64_t asked_ns;
    struct document_waiters waiters;
};

struct documents {
    struct documents_hooks hooks;
    uint32_t last_id;
    struct entry entries[VIEW_COUNT][FORMAT_COUNT];
};

#define MS(ms) ((ms)*INT64_C(1000000))

struct documents *documents_new(const struct documents_hooks *hooks)
{
    struct documents *documents = calloc(1, sizeof(*documents));
    if (documents == NULL)
        return NULL;
    documents->hooks = *hooks;
    for (int view = 0; view < VIEW_COUNT; view++) {
        for (int format = 0; format < FORMAT_COUNT; format++)
            TAILQ_INIT(&documents->entries[view][format].waiters);
    }
    return documents;
}

void documents_free(struct documents **documents_ptr)
{
    struct documents *documents = *documents_ptr;
    if (documents == NULL)
        return;
    *documents_ptr = NULL;
    for (int view = 0; view < VIEW_COUNT; view++) {
        for (int format = 0; format < FORMAT_COUNT; format++) {
            struct entry *entry = &documents->entries[view][format];
            CHECK(TAILQ_EMPTY(&entry->waiters));
            blob_unref(&entry->document.body);
        }
    }
    free(documents);
}

static const struct document *last_heard(const struct entry *entry)
{
    return entry->document.body != NULL ? &entry->document : NULL;
}

bool documents_get(struct documents *documents, enum view view, enum view_format format,
                   int64_t now_ns, struct document_waiter *waiter, const struct document **out,
                   bool *stale)
{
    struct entry *entry = &documents->entries[view][format];
    *stale = false;
    if (entry->fresh && now_ns - entry->heard_ns < MS(DOCUMENTS_FRESH_MS)) {
        *out = &entry->document;
        return true;
    }
    if (entry->id == 0) {
        uint32_t id = ++documents->last_id != 0 ? documents->last_id : ++documents->last_id;
        if (documents->hooks.ask(documents->hooks.context, id, view, format) != 0) {
            *out = last_heard(entry);
            *stale = true;
            return true;
        }
        entry->id = id;
        entry->asked_ns = now_ns;
        documents->hooks.wake_at(documents->hooks.context, now_ns + MS(DOCUMENTS_PATIENCE_MS));
    }
    TAILQ_INSERT_TAIL(&entry->waiters, waiter, link);
    waiter->queue = &entry->waiters;
    waiter->question = entry->id;
    return false;
}

void documents_leave(struct documents *documents, struct document_waiter *waiter)
{
    (void)documents;
    if (waiter->queue == NULL)
        return;
    TAILQ_REMOVE(waiter->queue, waiter, link);
    waiter->queue = NULL;
}

/* The question on its way has been answered, or nobody waits for it any more.
 * A waiter that is called may ask again: it is then behind those that are
 * called now and waits for another question. */
static void finish(struct entry *entry, bool stale)
{
    uint32_t question = entry->id;
    entry->id = 0;
    struct document_waiter *waiter;
    while ((waiter = TAILQ_FIRST(&entry->waiters)) != NULL && waiter->question == question) {
        TAILQ_REMOVE(&entry->waiters, waiter, link);
        waiter->queue = NULL;
        waiter->on_document(waiter, last_heard(entry), stale);
    }
}

static struct entry *find_question(struct documents *documents, uint32_t id)
{
    for (int view = 0; view < VIEW_COUNT; view++) {
        for (int format = 0; format < FORMAT_COUNT; format++) {
            struct entry *entry = &documents->entries[view][format];
            if (id != 0 && entry->id == id)
                return entry;
        }
    }
    return NULL;
}

void documents_reply(struct documents *documents, uint32_t id, int status, const char *type,
                     struct slice body, int64_t now_ns)
{
    struct entry *entry = find_question(documents, id);
    if (entry == NULL)
        return;
    struct blob *blob = blob_new(body);
    if (blob == NULL) {
        finish(entry, true);
        return;
    }
    blob_unref(&entry->document.body);
    entry->document.body = blob;
    entry->document.status = status;
    snprintf(entry->document.type, sizeof(entry->document.type), "%s", type);
    entry->heard_ns = now_ns;
    entry->fresh = true;
    finish(entry, false);
}

void documents_expire(struct documents *documents, int64_t now_ns)
{
    int64_t next_ns = INT64_MAX;
    for (int view = 0; view < VIEW_COUNT; view++) {
        for (int format = 0; format < FORMAT_COUNT; format++) {
            struct entry *entry = &documents->entries[view][format];
            if (entry->id == 0)
                continue;
            int64_t due_ns = entry->asked_ns + MS(DOCUMENTS_PATIENCE_MS);
            if (due_ns <= now_ns)
                finish(entry, true);
            else if (due_ns < next_ns)
                next_ns = due_ns;
        }
    }
    if (next_ns != INT64_MAX)
        documents->hooks.wake_at(documents->hooks.context, next_ns);
}

void documents_give_up(struct documents *documents)
{
    for (int view = 0; view < VIEW_COUNT; view++) {
        for (int format = 0; format < FORMAT_COUNT; format++) {
            struct entry *entry = &documents->entries[view][format];
            entry->fresh = false;
            if (entry->id != 0)
                finish(entry, true);
        }
    }
}

void documents_invalidate(struct documents *documents, bool forget)
{
    for (int view = 0; view < VIEW_COUNT; view++) {
        for (int format = 0; format < FORMAT_COUNT; format++) {
            struct entry *entry = &documents->entries[view][format];
            entry->fresh = false;
            if (forget && view != VIEW_METRICS)
                blob_unref(&entry->document.body);
        }
    }
}
