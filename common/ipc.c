/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ipc - building and reading the messages of contract.h.
 */
#include "common/ipc.h"

#include <errno.h>
#include <unistd.h>

enum { IPC_MAGIC = 0x4d535452 };

/* What a datagram starts with; the fields follow, each with a field head. */
struct wire_head {
    uint32_t magic;
    uint16_t type;
    uint16_t contract;
};

struct wire_field {
    uint32_t tag;
    uint32_t len;
};

void ipc_begin(struct buf *out, enum message_type type)
{
    const struct wire_head head = {IPC_MAGIC, (uint16_t)type, CONTRACT_VERSION};
    buf_reset(out);
    buf_append(out, &head, sizeof(head));
}

void ipc_put_bytes(struct buf *out, enum message_field field, const void *data, size_t len)
{
    const struct wire_field head = {(uint32_t)field, (uint32_t)len};
    buf_append(out, &head, sizeof(head));
    buf_append(out, data, len);
}

void ipc_put_u32(struct buf *out, enum message_field field, uint32_t value)
{
    ipc_put_bytes(out, field, &value, sizeof(value));
}

void ipc_put_u64(struct buf *out, enum message_field field, uint64_t value)
{
    ipc_put_bytes(out, field, &value, sizeof(value));
}

void ipc_put_str(struct buf *out, enum message_field field, const char *str)
{
    ipc_put_bytes(out, field, str, strlen(str));
}

/* Takes one field off the front of `rest`. False when it does not fit. */
static bool next_field(struct slice *rest, uint32_t *tag, struct slice *value)
{
    struct wire_field head;
    if (rest->len < sizeof(head))
        return false;
    memcpy(&head, rest->ptr, sizeof(head));
    if (head.len > rest->len - sizeof(head))
        return false;
    *tag = head.tag;
    *value = slice_from(rest->ptr + sizeof(head), head.len);
    rest->ptr += sizeof(head) + head.len;
    rest->len -= sizeof(head) + head.len;
    return true;
}

int ipc_parse(const void *data, size_t len, struct ipc_message *out)
{
    struct wire_head head;
    if (len < sizeof(head) || len > CONTRACT_MAX_MESSAGE)
        return -EPROTO;
    memcpy(&head, data, sizeof(head));
    if (head.magic != IPC_MAGIC || head.contract == 0)
        return -EPROTO;

    struct slice fields = slice_from((const char *)data + sizeof(head), len - sizeof(head));
    struct slice rest = fields;
    uint32_t tag;
    struct slice value;
    while (rest.len > 0)
        if (!next_field(&rest, &tag, &value))
            return -EPROTO;

    out->type = (enum message_type)head.type;
    out->contract = head.contract;
    out->fields = fields;
    out->fd_count = 0;
    return 0;
}

bool ipc_get_bytes(const struct ipc_message *message, enum message_field field, struct slice *out)
{
    struct slice rest = message->fields;
    uint32_t tag;
    struct slice value;
    while (next_field(&rest, &tag, &value)) {
        if (tag == (uint32_t)field) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool get_exact(const struct ipc_message *message, enum message_field field, void *out,
                      size_t size)
{
    struct slice value;
    if (!ipc_get_bytes(message, field, &value) || value.len != size)
        return false;
    memcpy(out, value.ptr, size);
    return true;
}

bool ipc_get_u32(const struct ipc_message *message, enum message_field field, uint32_t *out)
{
    return get_exact(message, field, out, sizeof(*out));
}

bool ipc_get_u64(const struct ipc_message *message, enum message_field field, uint64_t *out)
{
    return get_exact(message, field, out, sizeof(*out));
}

bool ipc_get_str(const struct ipc_message *message, enum message_field field, char *out,
                 size_t size)
{
    struct slice value;
    if (size == 0 || !ipc_get_bytes(message, field, &value))
        return false;
    size_t len = value.len < size - 1 ? value.len : size - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)value.ptr[i] < 0x20 ? '?' : value.ptr[i];
    out[len] = '\0';
    return true;
}

void ipc_put_slots(struct buf *out, enum message_field field, const struct slot_set *set)
{
    size_t bytes = sizeof(set->word);
    const char *raw = (const char *)set->word;
    while (bytes > 0 && raw[bytes - 1] == 0)
        bytes--;
    ipc_put_bytes(out, field, raw, bytes);
}

bool ipc_get_slots(const struct ipc_message *message, enum message_field field,
                   struct slot_set *out)
{
    struct slice value;
    if (!ipc_get_bytes(message, field, &value) || value.len > sizeof(out->word))
        return false;
    memset(out, 0, sizeof(*out));
    memcpy(out->word, value.ptr, value.len);
    return true;
}

int ipc_take_fd(struct ipc_message *message, int n)
{
    if (n < 0 || n >= message->fd_count)
        return -1;
    int fd = message->fds[n];
    message->fds[n] = -1;
    return fd;
}

void ipc_close_fds(struct ipc_message *message)
{
    for (int i = 0; i < message->fd_count; i++)
        if (message->fds[i] >= 0)
            (void)close(message->fds[i]);
    message->fd_count = 0;
}

#define IPC_NAME_CASE(number, name)                                                                \
    case MESSAGE_##name:                                                                           \
        return #name;

const char *ipc_message_name(enum message_type type)
{
    switch (type) {
        CONTRACT_MESSAGES(IPC_NAME_CASE)
    }
    return "unknown";
}
