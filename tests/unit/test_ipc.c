/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_ipc - messages, documents and the queue of the control socket.
 */
#include "common/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch[CONTRACT_MAX_MESSAGE];

static void test_round_trip(void **state)
{
    (void)state;
    struct buf out;
    struct slot_set set = {0}, got_set;
    buf_init(&out, CONTRACT_MAX_MESSAGE);
    slot_set_add(&set, 0);
    slot_set_add(&set, 1023);
    ipc_begin(&out, MESSAGE_HELLO);
    ipc_put_u32(&out, FIELD_SLOT, 7);
    ipc_put_u64(&out, FIELD_GENERATION, UINT64_C(1) << 40);
    ipc_put_str(&out, FIELD_BUILD, "0.1\n0");
    ipc_put_slots(&out, FIELD_SLOTS, &set);
    ipc_put_bytes(&out, FIELD_SNAPSHOT, "", 0);

    struct ipc_message message;
    assert_int_equal(ipc_parse(out.ptr, out.len, &message), 0);
    assert_int_equal(message.type, MESSAGE_HELLO);
    assert_int_equal(message.contract, CONTRACT_VERSION);
    uint32_t slot;
    uint64_t generation;
    char build[4];
    struct slice empty;
    assert_true(ipc_get_u32(&message, FIELD_SLOT, &slot));
    assert_int_equal(slot, 7);
    assert_true(ipc_get_u64(&message, FIELD_GENERATION, &generation));
    assert_int_equal(generation, UINT64_C(1) << 40);
    assert_true(ipc_get_str(&message, FIELD_BUILD, build, sizeof(build)));
    assert_string_equal(build, "0.1"); /* cut to the room there is */
    assert_true(ipc_get_slots(&message, FIELD_SLOTS, &got_set));
    assert_memory_equal(&set, &got_set, sizeof(set));
    assert_true(ipc_get_bytes(&message, FIELD_SNAPSHOT, &empty));
    assert_int_equal(empty.len, 0);

    /* Not there, or of another size: false, and the output untouched. */
    assert_false(ipc_get_u32(&message, FIELD_ID, &slot));
    assert_false(ipc_get_u32(&message, FIELD_GENERATION, &slot));
    assert_int_equal(slot, 7);
    buf_fini(&out);
}

static void test_control_characters_do_not_reach_the_log(void **state)
{
    (void)state;
    struct buf out;
    struct ipc_message message;
    char text[16];
    buf_init(&out, CONTRACT_MAX_MESSAGE);
    ipc_begin(&out, MESSAGE_REFUSED);
    ipc_put_str(&out, FIELD_REASON, "a\nb\x1b[31m");
    assert_int_equal(ipc_parse(out.ptr, out.len, &message), 0);
    assert_true(ipc_get_str(&message, FIELD_REASON, text, sizeof(text)));
    assert_string_equal(text, "a?b?[31m");
    buf_fini(&out);
}

/* Every prefix of a message, and every message with one byte changed, is
 * refused or read within its bounds (the sanitizers watch). */
static void test_cut_and_changed(void **state)
{
    (void)state;
    struct buf out;
    struct ipc_message message;
    buf_init(&out, CONTRACT_MAX_MESSAGE);
    ipc_begin(&out, MESSAGE_ASSIGN);
    ipc_put_u64(&out, FIELD_EPOCH, 3);
    ipc_put_bytes(&out, FIELD_SLOTS, "\x0f", 1);
    int refused = 0;
    for (size_t len = 0; len < out.len; len++) {
        char *exact = malloc(len == 0 ? 1 : len);
        assert_non_null(exact);
        memcpy(exact, out.ptr, len);
        refused += ipc_parse(exact, len, &message) == -EPROTO;
        free(exact);
    }
    /* All but the cuts between two fields. */
    assert_int_equal(refused, (int)out.len - 2);
    for (size_t i = 0; i < out.len; i++) {
        char copy[64];
        struct slot_set set;
        assert_true(out.len <= sizeof(copy));
        memcpy(copy, out.ptr, out.len);
        copy[i] = (char)(copy[i] ^ 0x81);
        if (ipc_parse(copy, out.len, &message) == 0)
            (void)ipc_get_slots(&message, FIELD_SLOTS, &set);
    }
    buf_fini(&out);
}

static void test_unknown_is_skipped(void **state)
{
    (void)state;
    struct buf out;
    struct ipc_message message;
    uint32_t slot;
    buf_init(&out, CONTRACT_MAX_MESSAGE);
    ipc_begin(&out, (enum message_type)999);
    ipc_put_str(&out, (enum message_field)7777, "from the future");
    ipc_put_u32(&out, FIELD_SLOT, 5);
    assert_int_equal(ipc_parse(out.ptr, out.len, &message), 0);
    assert_string_equal(ipc_message_name(message.type), "unknown");
    assert_true(ipc_get_u32(&message, FIELD_SLOT, &slot));
    assert_int_equal(slot, 5);
    buf_fini(&out);
}

static void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void test_send_and_receive_descriptors(void **state)
{
    (void)state;
    int pair[2], pipe_fds[2];
    struct buf out;
    struct ipc_message message;
    make_pair(pair);
    assert_int_equal(pipe(pipe_fds), 0);
    buf_init(&out, CONTRACT_MAX_MESSAGE);
    ipc_begin(&out, MESSAGE_LISTENERS);
    assert_int_equal(ipc_receive(pair[1], scratch, &message), -EAGAIN);
    assert_int_equal(ipc_send(pair[0], &out, pipe_fds, 2), 0);
    assert_int_equal(ipc_receive(pair[1], scratch, &message), 1);
    assert_int_equal(message.fd_count, 2);
    int taken = ipc_take_fd(&message, 1);
    assert_true(taken >= 0);
    assert_int_equal(ipc_take_fd(&message, 1), -1);
    assert_int_equal(ipc_take_fd(&message, 2), -1);
    assert_int_not_equal(fcntl(taken, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_equal(write(taken, "x", 1), 1);
    char byte;
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    ipc_close_fds(&message);
    (void)close(taken);

    /* Garbage with a descriptor: refused, and the descriptor does not leak. */
    int before = dup(pipe_fds[0]);
    (void)close(before);
    struct buf garbage = {.ptr = (char *)(uintptr_t) "garbage", .len = 7};
    assert_int_equal(ipc_send(pair[0], &garbage, pipe_fds, 1), 0);
    assert_int_equal(ipc_receive(pair[1], scratch, &message), -EPROTO);
    int after = dup(pipe_fds[0]);
    assert_int_equal(before, after);
    (void)close(after);

    (void)close(pair[0]);
    assert_int_equal(ipc_receive(pair[1], scratch, &message), 0);
    (void)close(pair[1]);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    buf_fini(&out);
}

static void test_documents(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    int fd = ipc_document_new("test", SLICE_LITERAL("workers = 2\n"));
    assert_true(fd >= 0);
    assert_int_equal(ipc_document_read(fd, &out), 0);
    assert_int_equal(ipc_document_read(fd, &out), 0); /* reading does not use it up */
    assert_int_equal(out.len, 24);
    assert_memory_equal(out.ptr, "workers = 2\nworkers = 2\n", 24);
    assert_int_equal(write(fd, "x", 1), -1); /* sealed */
    (void)close(fd);

    int open_fd = memfd_create("not-sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(open_fd >= 0);
    assert_int_equal(ipc_document_read(open_fd, &out), -EPROTO);
    (void)close(open_fd);
    buf_fini(&out);
}

static void begin_state(struct buf *out, uint32_t value)
{
    ipc_begin(out, MESSAGE_STATE);
    ipc_put_u32(out, FIELD_STATE, value);
}

static void test_queue(void **state)
{
    (void)state;
    int pair[2];
    struct buf out;
    struct ipc_queue queue = {0};
    make_pair(pair);
    buf_init(&out, CONTRACT_MAX_MESSAGE);

    /* Fill the socket: what does not fit waits. */
    static const char filler[32 * 1024];
    int sent = 0, err;
    ipc_begin(&out, MESSAGE_REPLY);
    ipc_put_bytes(&out, FIELD_SNAPSHOT, filler, sizeof(filler));
    while ((err = ipc_queue_send(&queue, pair[0], &out, NULL, 0)) == 0)
        sent++;
    assert_int_equal(err, 1);
    assert_true(sent > 0);
    assert_int_equal(queue.count, 1);

    /* Whole state replaces whole state, and nothing else. */
    for (uint32_t i = 0; i < 100; i++) {
        begin_state(&out, i);
        assert_int_equal(ipc_queue_send(&queue, pair[0], &out, NULL, 0), 1);
    }
    assert_int_equal(queue.count, 2);

    /* Everything arrives once the peer reads, the newest state last. */
    uint32_t last = 0;
    int replies = 0, states = 0;
    for (int i = 0; i < 1000; i++) {
        struct ipc_message message;
        int got = ipc_receive(pair[1], scratch, &message);
        if (got == 1) {
            replies += message.type == MESSAGE_REPLY;
            states += message.type == MESSAGE_STATE;
            (void)ipc_get_u32(&message, FIELD_STATE, &last);
        }
        int left = ipc_queue_flush(&queue, pair[0]);
        assert_true(left >= 0);
        if (left == 0 && got == -EAGAIN)
            break;
    }
    assert_int_equal(replies, sent + 1);
    assert_int_equal(states, 1);
    assert_int_equal(last, 99);

    /* The bound. */
    begin_state(&out, 1);
    ipc_begin(&out, MESSAGE_REPLY);
    ipc_put_bytes(&out, FIELD_SNAPSHOT, filler, sizeof(filler));
    while ((err = ipc_queue_send(&queue, pair[0], &out, NULL, 0)) >= 0)
        assert_true(queue.count <= IPC_QUEUE_MAX);
    assert_int_equal(err, -ENOBUFS);
    assert_int_equal(queue.count, IPC_QUEUE_MAX);
    ipc_queue_fini(&queue);
    assert_null(queue.first);

    (void)close(pair[1]);
    begin_state(&out, 1);
    /* ECONNRESET: what it had not read is lost, which a peer that went away owes us. */
    assert_int_equal(ipc_queue_send(&queue, pair[0], &out, NULL, 0), -ECONNRESET);
    assert_int_equal(ipc_queue_send(&queue, pair[0], &out, NULL, 0), -EPIPE);
    (void)close(pair[0]);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_control_characters_do_not_reach_the_log),
        cmocka_unit_test(test_cut_and_changed),
        cmocka_unit_test(test_unknown_is_skipped),
        cmocka_unit_test(test_send_and_receive_descriptors),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
