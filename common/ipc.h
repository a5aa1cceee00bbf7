/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ipc - building, reading, sending and receiving the messages of contract.h.
 *
 * Building and reading are pure. Every read is checked against the bytes that
 * are there; a peer's message can be refused but can do no harm.
 */
#ifndef MUSTER_IPC_H
#define MUSTER_IPC_H

#include "common/buf.h"
#include "common/check.h"
#include "common/contract.h"
#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- building ---- */

void ipc_begin(struct buf *out, enum message_type type); /* resets `out` */
void ipc_put_u32(struct buf *out, enum message_field field, uint32_t value);
void ipc_put_u64(struct buf *out, enum message_field field, uint64_t value);
void ipc_put_bytes(struct buf *out, enum message_field field, const void *data, size_t len);
void ipc_put_str(struct buf *out, enum message_field field, const char *str);

/* ---- reading ---- */

struct ipc_message {
    enum message_type type; /* may be a number that CONTRACT_MESSAGES does not have */
    uint32_t contract;      /* CONTRACT_VERSION of the sender */
    struct slice fields;    /* borrowed from the datagram */
    int fds[CONTRACT_MAX_FDS];
    int fd_count; /* owned by whoever received the message, until ipc_take_fd() or ipc_close_fds()
                   */
};

/* 0, or -EPROTO when the datagram is not a well-formed message. */
MUST_USE int ipc_parse(const void *data, size_t len, struct ipc_message *out);

/* The first field with this tag and the right size. False: not there. */
bool ipc_get_u32(const struct ipc_message *message, enum message_field field, uint32_t *out);
bool ipc_get_u64(const struct ipc_message *message, enum message_field field, uint64_t *out);
bool ipc_get_bytes(const struct ipc_message *message, enum message_field field, struct slice *out);
/* Copies at most size-1 bytes and a NUL; bytes below 0x20 become '?'. */
bool ipc_get_str(const struct ipc_message *message, enum message_field field, char *out,
                 size_t size);

/* The n-th descriptor, now the caller's; -1 if there is none. */
int ipc_take_fd(struct ipc_message *message, int n);
void ipc_close_fds(struct ipc_message *message);

const char *ipc_message_name(enum message_type type); /* "HELLO", or "unknown" */

/* ---- sockets ---- */

/* A listening control socket at `path`, mode 0600; what was there is replaced.
 * The descriptor, or -errno. */
MUST_USE int ipc_listen(const char *path);
/* A connected, non-blocking socket, or -errno. */
MUST_USE int ipc_connect(const char *path);

/* One datagram. 0, -EAGAIN when the peer does not read (try again when
 * writable), -EMSGSIZE, or another -errno: the connection is over. */
MUST_USE int ipc_send(int fd, const struct buf *message, const int *fds, int fd_count);

/* One datagram into `scratch` (CONTRACT_MAX_MESSAGE bytes), parsed into `out`.
 * 1 when there is a message, 0 at end of file, -EAGAIN when nothing is there,
 * -EPROTO when the datagram is not a message (descriptors are closed), -errno. */
MUST_USE int ipc_receive(int fd, void *scratch, struct ipc_message *out);

/* A sealed memfd with these bytes, or -errno. `name` is for people. */
MUST_USE int ipc_document_new(const char *name, struct slice bytes);
/* Appends the content of a document to `out`. 0, -EFBIG, -EPROTO (not sealed), -errno. */
MUST_USE int ipc_document_read(int fd, struct buf *out);

/* ---- a bounded queue of messages to one peer ---- */

/* Messages that the peer cannot take at once wait here; newer messages of a
 * kind that is whole state (ASSIGN, STATE, LOGS, DRAIN) replace waiting ones. */
struct ipc_queue {
    struct ipc_queued *first;
    int count;
};

enum { IPC_QUEUE_MAX = 256 };

/* Sends at once if nothing waits. 0 sent, 1 queued, -ENOBUFS when the queue is
 * full, -errno when the connection is over. Descriptors are duplicated when
 * the message has to wait; the caller keeps its own. */
MUST_USE int ipc_queue_send(struct ipc_queue *queue, int fd, const struct buf *message,
                            const int *fds, int fd_count);
/* Sends what waits. 0 when nothing waits any more, 1 when something does, -errno. */
MUST_USE int ipc_queue_flush(struct ipc_queue *queue, int fd);
void ipc_queue_fini(struct ipc_queue *queue);

/* ---- bitmaps of slots ---- */

struct slot_set {
    uint64_t word[CONTRACT_MAX_SLOTS / 64];
};

static inline void slot_set_add(struct slot_set *set, unsigned slot)
{
    CHECK(slot < CONTRACT_MAX_SLOTS);
    set->word[slot / 64] |= UINT64_C(1) << (slot % 64);
}

static inline void slot_set_remove(struct slot_set *set, unsigned slot)
{
    CHECK(slot < CONTRACT_MAX_SLOTS);
    set->word[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

static inline bool slot_set_has(const struct slot_set *set, unsigned slot)
{
    return slot < CONTRACT_MAX_SLOTS && (set->word[slot / 64] >> (slot % 64) & 1) != 0;
}

void ipc_put_slots(struct buf *out, enum message_field field, const struct slot_set *set);
bool ipc_get_slots(const struct ipc_message *message, enum message_field field,
                   struct slot_set *out);

#endif
