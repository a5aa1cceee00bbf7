/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ipc_socket - sending and receiving messages, documents in memfds, and the
 * bounded queue to a peer that does not read.
 */
#include "common/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int fill_address(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    size_t len = strlen(path);
    if (len >= sizeof(address->sun_path))
        return -ENAMETOOLONG;
    memcpy(address->sun_path, path, len + 1);
    return 0;
}

int ipc_listen(const char *path)
{
    struct sockaddr_un address;
    int err = fill_address(path, &address);
    if (err != 0)
        return err;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    (void)unlink(path);
    /* The mode must be right from the first moment: a chmod after bind would
     * leave a gap in which a stranger could connect. */
    mode_t mask = umask(0177);
    int bound = bind(fd, (const struct sockaddr *)&address, sizeof(address));
    err = errno;
    (void)umask(mask);
    if (bound != 0 || listen(fd, 4096) != 0) {
        if (bound == 0)
            err = errno;
        (void)close(fd);
        return -err;
    }
    return fd;
}

int ipc_connect(const char *path)
{
    struct sockaddr_un address;
    int err = fill_address(path, &address);
    if (err != 0)
        return err;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        err = errno;
        (void)close(fd);
        return -err;
    }
    return fd;
}

int ipc_send(int fd, const struct buf *message, const int *fds, int fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CONTRACT_MAX_FDS)];
    } control;
    if (buf_failed(message))
        return -ENOMEM;
    if (message->len > CONTRACT_MAX_MESSAGE || fd_count > CONTRACT_MAX_FDS)
        return -EMSGSIZE;

    struct iovec iov = {message->ptr, message->len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd_count > 0) {
        size_t bytes = sizeof(int) * (size_t)fd_count;
        memset(&control, 0, sizeof(control));
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(cmsg), fds, bytes);
    }
    for (;;) {
        if (sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        if (errno == EINTR)
            continue;
        /* Too many descriptors under way to processes that have not fetched
         * them yet: passes as soon as they do. */
        if (errno == EWOULDBLOCK || errno == ETOOMANYREFS || errno == ENOBUFS)
            return -EAGAIN;
        return -errno;
    }
}

static void take_rights(struct msghdr *msg, struct ipc_message *out)
{
    out->fd_count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (out->fd_count < CONTRACT_MAX_FDS)
                out->fds[out->fd_count++] = fd;
            else
                (void)close(fd);
        }
    }
}

int ipc_receive(int fd, void *scratch, struct ipc_message *out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * CONTRACT_MAX_FDS)];
    } control;
    struct iovec iov = {scratch, CONTRACT_MAX_MESSAGE};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control)};
    ssize_t got;
    do {
        got = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;

    take_rights(&msg, out);
    if (got == 0 && out->fd_count == 0)
        return 0;
    struct ipc_message parsed;
    int err = (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0
                  ? -EPROTO
                  : ipc_parse(scratch, (size_t)got, &parsed);
    if (err != 0) {
        ipc_close_fds(out);
        return err;
    }
    out->type = parsed.type;
    out->contract = parsed.contract;
    out->fields = parsed.fields;
    return 1;
}

int ipc_document_new(const char *name, struct slice bytes)
{
    if (bytes.len > CONTRACT_MAX_DOCUMENT)
        return -EFBIG;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    size_t done = 0;
    while (done < bytes.len) {
        ssize_t wrote = write(fd, bytes.ptr + done, bytes.len - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            goto fail;
        done += (size_t)wrote;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        goto fail;
    return fd;

fail:;
    int err = errno;
    (void)close(fd);
    return -err;
}

int ipc_document_read(int fd, struct buf *out)
{
    /* Only a sealed document cannot change or shrink while it is read. */
    const int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & needed) != needed)
        return -EPROTO;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if (st.st_size > CONTRACT_MAX_DOCUMENT)
        return -EFBIG;
    size_t size = (size_t)st.st_size;
    char *into = buf_reserve(out, size + 1);
    if (into == NULL)
        return -ENOMEM;
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, into + done, size - done, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? -EPROTO : -errno;
        done += (size_t)got;
    }
    out->len += size;
    return 0;
}

/* ---- the queue ---- */

struct ipc_queued {
    struct ipc_queued *next;
    enum message_type type;
    int fd_count;
    int fds[CONTRACT_MAX_FDS];
    struct buf bytes;
};

static void queued_free(struct ipc_queued *queued)
{
    for (int i = 0; i < queued->fd_count; i++)
        (void)close(queued->fds[i]);
    buf_fini(&queued->bytes);
    free(queued);
}

static struct ipc_queued *queued_new(const struct buf *message, const int *fds, int fd_count)
{
    struct ipc_queued *queued = calloc(1, sizeof(*queued));
    if (queued == NULL)
        return NULL;
    buf_init(&queued->bytes, CONTRACT_MAX_MESSAGE);
    buf_append(&queued->bytes, message->ptr, message->len);
    bool failed = buf_failed(&queued->bytes);
    for (int i = 0; i < fd_count && !failed; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            failed = true;
        else
            queued->fds[queued->fd_count++] = copy;
    }
    if (failed) {
        queued_free(queued);
        return NULL;
    }
    struct wire_type {
        uint32_t magic;
        uint16_t type;
    } head;
    memcpy(&head, message->ptr, sizeof(head));
    queued->type = (enum message_type)head.type;
    return queued;
}

static bool is_whole_state(enum message_type type)
{
    return type == MESSAGE_ASSIGN || type == MESSAGE_STATE || type == MESSAGE_LOGS ||
           type == MESSAGE_DRAIN;
}

static void drop_superseded(struct ipc_queue *queue, enum message_type type)
{
    struct ipc_queued **link = &queue->first;
    while (*link != NULL) {
        struct ipc_queued *queued = *link;
        if (queued->type == type) {
            *link = queued->next;
            queue->count--;
            queued_free(queued);
        } else {
            link = &queued->next;
        }
    }
}

int ipc_queue_send(struct ipc_queue *queue, int fd, const struct buf *message, const int *fds,
                   int fd_count)
{
    if (queue->first == NULL) {
        int err = ipc_send(fd, message, fds, fd_count);
        if (err != -EAGAIN)
            return err;
    }
    if (queue->count >= IPC_QUEUE_MAX)
        return -ENOBUFS;
    struct ipc_queued *queued = queued_new(message, fds, fd_count);
    if (queued == NULL)
        return -ENOMEM;
    if (is_whole_state(queued->type))
        drop_superseded(queue, queued->type);
    struct ipc_queued **link = &queue->first;
    while (*link != NULL)
        link = &(*link)->next;
    *link = queued;
    queue->count++;
    return 1;
}

int ipc_queue_flush(struct ipc_queue *queue, int fd)
{
    while (queue->first != NULL) {
        struct ipc_queued *queued = queue->first;
        int err = ipc_send(fd, &queued->bytes, queued->fds, queued->fd_count);
        if (err == -EAGAIN)
            return 1;
        if (err != 0)
            return err;
        queue->first = queued->next;
        queue->count--;
        queued_free(queued);
    }
    return 0;
}

void ipc_queue_fini(struct ipc_queue *queue)
{
    while (queue->first != NULL) {
        struct ipc_queued *queued = queue->first;
        queue->first = queued->next;
        queued_free(queued);
    }
    queue->count = 0;
}
