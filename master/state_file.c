/* SPDX-License-Identifier: BSD-2-Clause
 *
 * state_file - what must outlive a master that is killed.
 *
 * A record is a message of ipc.h with tags of its own, behind a head with a
 * sequence number and a check sum; a cell has room for two.
 */
#include "master/state_file.h"

#include "common/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    CELL_HALF = CONTRACT_MAX_MESSAGE + 4096, /* a file with holes: only what is used takes room */
    CELL_SIZE = 2 * CELL_HALF,
    CLUSTER_CELL = 0,
    CELL_COUNT = 1 + STATE_MAX_WORKERS,
    BOOT_ID_SIZE = 40,
};

#define STATE_MAGIC UINT64_C(0x316574617473756d) /* "mustate1" */

struct head {
    uint64_t magic;
    uint64_t sequence;
    uint64_t len;
    uint64_t sum; /* of the bytes behind the head, and of the head before this */
};

/* Tags: never reused. */
enum tag {
    TAG_BOOT = 1,
    TAG_VERSION,
    TAG_GENERATION,
    TAG_NEWEST,
    TAG_CONFIG_ID,
    TAG_DEAD,
    TAG_CELLS,         /* u16 each: the records of workers that count, oldest first */
    TAG_RESTARTS,      /* "name=number " for each reason */
    TAG_SLOT_RESTARTS, /* u64 each */
    TAG_MANUAL,
    TAG_INSTANCES,
    TAG_UNTIL,
    TAG_SINCE,
    TAG_REASON,
    TAG_WHO,
    TAG_MASTERS,
    TAG_UPGRADE_PID,
    TAG_UPGRADE_STARTED,
    TAG_UPGRADE_WHO,
    TAG_PID,
    TAG_START_TICKS,
    TAG_SLOT,
    TAG_STATE,
    TAG_STARTED,
    TAG_SNAPSHOT,
    TAG_SLOTS,
    TAG_WAKEUPS = 64,
    TAG_QUERIES,
    TAG_REJECTED,
    TAG_SWAPS,
    TAG_CPU_USER,
    TAG_CPU_SYSTEM,
    TAG_CPU_USER_BEFORE,
    TAG_CPU_SYSTEM_BEFORE,
    TAG_SLOT_SUSPECTED, /* u64 each */
    TAG_INODE,
    TAG_SOCKETS_ID,
};

struct state_file {
    int fd;
    char *path;
    char *temporary;
    bool published;
    uint64_t sequence;
    int used[STATE_MAX_WORKERS]; /* cells in use, in the order they were added */
    int used_count;
    bool taken[CELL_COUNT];
    uint8_t half[CELL_COUNT]; /* where the next record of a cell goes */
    struct buf scratch;
};

/* FNV-1a: against writes that were cut short, not against people. */
static uint64_t checksum(uint64_t sum, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    return sum;
}

#define CHECKSUM_START UINT64_C(0xcbf29ce484222325)

static uint64_t checksum_record(const struct head *head, const char *bytes)
{
    uint64_t sum = checksum(CHECKSUM_START, (const char *)head, offsetof(struct head, sum));
    return checksum(sum, bytes, head->len);
}

uint64_t state_config_id(struct slice text)
{
    return checksum(CHECKSUM_START, text.ptr, text.len);
}

static void read_boot_id(char out[BOOT_ID_SIZE])
{
    memset(out, 0, BOOT_ID_SIZE);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t len = read(fd, out, BOOT_ID_SIZE - 1);
    (void)close(fd);
    if (len > 0 && out[len - 1] == '\n')
        out[len - 1] = '\0';
}

/* ---- records ---- */

static void begin(struct buf *out)
{
    ipc_begin(out, MESSAGE_METRICS); /* the type says nothing here */
}

static void put(struct buf *out, enum tag tag, uint64_t value)
{
    ipc_put_u64(out, (enum message_field)tag, value);
}

static void put_text(struct buf *out, enum tag tag, const char *text)
{
    ipc_put_str(out, (enum message_field)tag, text);
}

static uint64_t get(const struct ipc_message *record, enum tag tag)
{
    uint64_t value = 0;
    (void)ipc_get_u64(record, (enum message_field)tag, &value);
    return value;
}

static void get_text(const struct ipc_message *record, enum tag tag, char *out, size_t size)
{
    out[0] = '\0';
    (void)ipc_get_str(record, (enum message_field)tag, out, size);
}

static int write_record(struct state_file *file, int cell, const struct buf *record)
{
    if (buf_failed(record))
        return -ENOMEM;
    if (record->len > CELL_HALF - sizeof(struct head))
        return -EMSGSIZE;
    struct head head = {STATE_MAGIC, ++file->sequence, record->len, 0};
    head.sum = checksum_record(&head, record->ptr);
    off_t at = (off_t)cell * CELL_SIZE + (off_t)file->half[cell] * CELL_HALF;
    const struct iovec parts[] = {{&head, sizeof(head)}, {record->ptr, record->len}};
    ssize_t wrote = pwritev(file->fd, parts, ARRAY_COUNT(parts), at);
    if (wrote != (ssize_t)(sizeof(head) + record->len))
        return wrote < 0 ? -errno : -ENOSPC;
    file->half[cell] ^= 1;
    return 0;
}

static bool read_half(int fd, int cell, int half, struct head *head, struct buf *out)
{
    off_t at = (off_t)cell * CELL_SIZE + (off_t)half * CELL_HALF;
    buf_reset(out);
    if (pread(fd, head, sizeof(*head), at) != (ssize_t)sizeof(*head) ||
        head->magic != STATE_MAGIC || head->len > CELL_HALF - sizeof(*head))
        return false;
    char *bytes = buf_reserve(out, head->len);
    if (bytes == NULL ||
        pread(fd, bytes, head->len, at + (off_t)sizeof(*head)) != (ssize_t)head->len)
        return false;
    out->len = head->len;
    return checksum_record(head, out->ptr) == head->sum;
}

/* The newer of the two that are whole. */
static bool read_record(int fd, int cell, struct buf *out)
{
    struct head first = {0}, second = {0};
    bool has_first = read_half(fd, cell, 0, &first, out);
    bool has_second = read_half(fd, cell, 1, &second, out);
    if (has_second && (!has_first || second.sequence > first.sequence))
        return true;
    return has_first && read_half(fd, cell, 0, &first, out);
}

/* ---- writing ---- */

int state_file_new(const char *path, struct state_file **out)
{
    struct state_file *file = calloc(1, sizeof(*file));
    if (file == NULL)
        return -ENOMEM;
    file->fd = -1;
    buf_init(&file->scratch, CELL_HALF);
    file->path = strdup(path);
    int err = 0;
    if (file->path == NULL || asprintf(&file->temporary, "%s.new", path) < 0) {
        file->temporary = NULL;
        err = -ENOMEM;
    } else {
        (void)unlink(file->temporary);
        file->fd = open(file->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        err = file->fd < 0 ? -errno : 0;
    }
    if (err != 0)
        state_file_free(&file, false);
    else
        *out = file;
    return err;
}

int state_file_publish(struct state_file *file)
{
    if (rename(file->temporary, file->path) != 0)
        return -errno;
    file->published = true;
    return 0;
}

bool state_file_is_there(const struct state_file *file)
{
    struct stat st;
    return lstat(file->path, &st) == 0 || errno != ENOENT;
}

void state_file_free(struct state_file **file_in, bool remove)
{
    struct state_file *file = *file_in;
    if (file == NULL)
        return;
    *file_in = NULL;
    if (file->fd >= 0)
        (void)close(file->fd);
    if (!file->published && file->temporary != NULL)
        (void)unlink(file->temporary);
    if (file->published && remove)
        (void)unlink(file->path);
    free(file->path);
    free(file->temporary);
    buf_fini(&file->scratch);
    free(file);
}

int state_file_add(struct state_file *file)
{
    for (int cell = CLUSTER_CELL + 1; cell < CELL_COUNT; cell++)
        if (!file->taken[cell]) {
            file->taken[cell] = true;
            file->used[file->used_count++] = cell;
            return cell;
        }
    return -ENOSPC;
}

void state_file_drop(struct state_file *file, int cell)
{
    for (int i = 0; i < file->used_count; i++)
        if (file->used[i] == cell) {
            memmove(&file->used[i], &file->used[i + 1],
                    (size_t)(file->used_count - i - 1) * sizeof(file->used[0]));
            file->used_count--;
            file->taken[cell] = false;
            return;
        }
}

int state_file_put_worker(struct state_file *file, int cell, const struct state_worker *worker)
{
    struct buf *record = &file->scratch;
    begin(record);
    put(record, TAG_PID, (uint64_t)worker->pid);
    put(record, TAG_START_TICKS, worker->identity.start_ticks);
    put(record, TAG_INODE, worker->identity.inode);
    put(record, TAG_SLOT, (uint64_t)worker->slot);
    put(record, TAG_GENERATION, worker->generation);
    put(record, TAG_STATE, worker->state);
    put(record, TAG_STARTED, (uint64_t)worker->started_wall_ms);
    ipc_put_bytes(record, (enum message_field)TAG_SNAPSHOT, worker->snapshot.ptr,
                  worker->snapshot.len);
    return write_record(file, cell, record);
}

/* Without the zeros at the end. */
static void put_slot_counts(struct buf *record, int tag, const uint64_t counts[CONTRACT_MAX_SLOTS])
{
    size_t slots = CONTRACT_MAX_SLOTS;
    while (slots > 0 && counts[slots - 1] == 0)
        slots--;
    ipc_put_bytes(record, (enum message_field)tag, counts, slots * sizeof(counts[0]));
}

static void get_slot_counts(const struct ipc_message *record, int tag,
                            uint64_t out[CONTRACT_MAX_SLOTS])
{
    struct slice bytes;
    if (ipc_get_bytes(record, (enum message_field)tag, &bytes) &&
        bytes.len <= CONTRACT_MAX_SLOTS * sizeof(out[0]))
        memcpy(out, bytes.ptr, bytes.len);
}

static void put_restarts(struct buf *record, const struct state_cluster *cluster)
{
    struct buf text;
    buf_init(&text, 4096);
    for (unsigned i = 0; i < DEATH_REASON_COUNT; i++)
        buf_printf(&text, "%s=%llu ", death_reason_name((enum death_reason)i),
                   (unsigned long long)cluster->restarts[i]);
    ipc_put_bytes(record, (enum message_field)TAG_RESTARTS, text.ptr, text.len);
    buf_fini(&text);
    put_slot_counts(record, TAG_SLOT_RESTARTS, cluster->slot_restarts);
    put_slot_counts(record, TAG_SLOT_SUSPECTED, cluster->slot_suspected);
}

int state_file_put_cluster(struct state_file *file, const struct state_cluster *cluster,
                           const struct metrics *dead)
{
    struct buf *record = &file->scratch;
    struct buf counts;
    char boot_id[BOOT_ID_SIZE];
    uint16_t cells[STATE_MAX_WORKERS];
    read_boot_id(boot_id);
    buf_init(&counts, CONTRACT_MAX_MESSAGE / 2);
    metrics_encode(dead, &counts);
    for (int i = 0; i < file->used_count; i++)
        cells[i] = (uint16_t)file->used[i];

    begin(record);
    put_text(record, TAG_BOOT, boot_id);
    put_text(record, TAG_VERSION, cluster->version);
    put(record, TAG_GENERATION, cluster->generation);
    put(record, TAG_NEWEST, cluster->newest_generation);
    put(record, TAG_CONFIG_ID, cluster->config_id);
    ipc_put_bytes(record, (enum message_field)TAG_DEAD, counts.ptr, counts.len);
    ipc_put_bytes(record, (enum message_field)TAG_CELLS, cells,
                  (size_t)file->used_count * sizeof(cells[0]));
    put_restarts(record, cluster);
    put(record, TAG_MANUAL, cluster->manual);
    put(record, TAG_INSTANCES, (uint64_t)cluster->instances);
    put(record, TAG_UNTIL, (uint64_t)cluster->until_wall_ms);
    put(record, TAG_SINCE, (uint64_t)cluster->since_wall_ms);
    put_text(record, TAG_REASON, cluster->reason);
    put_text(record, TAG_WHO, cluster->who);
    put(record, TAG_MASTERS, cluster->masters);
    put(record, TAG_WAKEUPS, cluster->wakeups);
    put(record, TAG_QUERIES, cluster->queries_answered);
    put(record, TAG_REJECTED, cluster->control_rejected);
    put(record, TAG_SWAPS, cluster->program_swaps);
    put(record, TAG_CPU_USER, cluster->cpu_user_ms);
    put(record, TAG_CPU_SYSTEM, cluster->cpu_system_ms);
    put(record, TAG_CPU_USER_BEFORE, cluster->cpu_user_before_ms);
    put(record, TAG_CPU_SYSTEM_BEFORE, cluster->cpu_system_before_ms);
    put(record, TAG_SLOTS, (uint64_t)cluster->slot_count);
    put(record, TAG_SOCKETS_ID, cluster->sockets_id);
    put(record, TAG_UPGRADE_PID, (uint64_t)cluster->upgrade_pid);
    put(record, TAG_UPGRADE_STARTED, (uint64_t)cluster->upgrade_started_wall_ms);
    put_text(record, TAG_UPGRADE_WHO, cluster->upgrade_who);
    int err = buf_failed(&counts) ? -ENOMEM : write_record(file, CLUSTER_CELL, record);
    buf_fini(&counts);
    return err;
}

/* ---- reading ---- */

/* "name=number name=number ": names that are not known here are of another version. */
static void parse_restarts(char *text, uint64_t restarts[DEATH_REASON_COUNT])
{
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        char *number = strchr(word, '=');
        if (number == NULL)
            continue;
        *number++ = '\0';
        for (unsigned i = 0; i < DEATH_REASON_COUNT; i++)
            if (strcmp(death_reason_name((enum death_reason)i), word) == 0)
                restarts[i] = strtoull(number, NULL, 10);
    }
}

static void get_restarts(const struct ipc_message *record, struct state_cluster *out)
{
    char text[1024];
    get_text(record, TAG_RESTARTS, text, sizeof(text));
    parse_restarts(text, out->restarts);
    get_slot_counts(record, TAG_SLOT_RESTARTS, out->slot_restarts);
    get_slot_counts(record, TAG_SLOT_SUSPECTED, out->slot_suspected);
}

static int read_cluster(const struct ipc_message *record, struct state *out)
{
    struct state_cluster *cluster = &out->cluster;
    char boot_id[BOOT_ID_SIZE], now[BOOT_ID_SIZE];
    struct slice dead;
    read_boot_id(now);
    get_text(record, TAG_BOOT, boot_id, sizeof(boot_id));
    if (strcmp(boot_id, now) != 0)
        return -ESTALE;
    if (!ipc_get_bytes(record, (enum message_field)TAG_DEAD, &dead) ||
        metrics_decode(dead.ptr, dead.len, &out->dead) != 0)
        return -EPROTO;
    get_text(record, TAG_VERSION, cluster->version, sizeof(cluster->version));
    cluster->generation = get(record, TAG_GENERATION);
    cluster->newest_generation = get(record, TAG_NEWEST);
    cluster->config_id = get(record, TAG_CONFIG_ID);
    cluster->manual = get(record, TAG_MANUAL) != 0;
    cluster->instances = (int)get(record, TAG_INSTANCES);
    cluster->until_wall_ms = (int64_t)get(record, TAG_UNTIL);
    cluster->since_wall_ms = (int64_t)get(record, TAG_SINCE);
    get_text(record, TAG_REASON, cluster->reason, sizeof(cluster->reason));
    get_text(record, TAG_WHO, cluster->who, sizeof(cluster->who));
    cluster->masters = get(record, TAG_MASTERS);
    cluster->wakeups = get(record, TAG_WAKEUPS);
    cluster->queries_answered = get(record, TAG_QUERIES);
    cluster->control_rejected = get(record, TAG_REJECTED);
    cluster->program_swaps = get(record, TAG_SWAPS);
    cluster->cpu_user_ms = get(record, TAG_CPU_USER);
    cluster->cpu_system_ms = get(record, TAG_CPU_SYSTEM);
    cluster->cpu_user_before_ms = get(record, TAG_CPU_USER_BEFORE);
    cluster->cpu_system_before_ms = get(record, TAG_CPU_SYSTEM_BEFORE);
    uint64_t slots = get(record, TAG_SLOTS);
    cluster->slot_count = slots <= CONTRACT_MAX_SLOTS ? (int)slots : 0;
    cluster->sockets_id = get(record, TAG_SOCKETS_ID);
    cluster->upgrade_pid = (pid_t)get(record, TAG_UPGRADE_PID);
    cluster->upgrade_started_wall_ms = (int64_t)get(record, TAG_UPGRADE_STARTED);
    get_text(record, TAG_UPGRADE_WHO, cluster->upgrade_who, sizeof(cluster->upgrade_who));
    get_restarts(record, cluster);
    return 0;
}

/* The snapshot is copied behind the others in `bytes`; pointers are made at the
 * end, when it does not grow any more. */
static int read_worker(const struct buf *record, int slot_count, struct buf *bytes,
                       struct state_worker *out)
{
    struct ipc_message message;
    struct slice snapshot;
    if (ipc_parse(record->ptr, record->len, &message) != 0 ||
        !ipc_get_bytes(&message, (enum message_field)TAG_SNAPSHOT, &snapshot))
        return -EPROTO;
    uint64_t state = get(&message, TAG_STATE);
    *out = (struct state_worker){
        .pid = (pid_t)get(&message, TAG_PID),
        .identity = {get(&message, TAG_START_TICKS), get(&message, TAG_INODE)},
        .slot = (int)get(&message, TAG_SLOT),
        .generation = get(&message, TAG_GENERATION),
        .state = (enum worker_state)state,
        .started_wall_ms = (int64_t)get(&message, TAG_STARTED),
    };
    if (out->pid <= 1 || out->slot < 0 || out->slot >= slot_count || state >= WORKER_STATE_COUNT)
        return -EPROTO;
    buf_append(bytes, snapshot.ptr, snapshot.len);
    out->snapshot.len = snapshot.len;
    return buf_failed(bytes) ? -ENOMEM : 0;
}

static int read_workers(int fd, const struct ipc_message *cluster, struct state *out)
{
    struct slice list = {0};
    struct buf record;
    int err = 0;
    (void)ipc_get_bytes(cluster, (enum message_field)TAG_CELLS, &list);
    size_t count = list.len / sizeof(uint16_t);
    if (count > STATE_MAX_WORKERS)
        return -EPROTO;
    out->workers = calloc(count + 1, sizeof(*out->workers));
    if (out->workers == NULL)
        return -ENOMEM;
    buf_init(&record, CELL_HALF);
    for (size_t i = 0; i < count && err != -ENOMEM; i++) {
        uint16_t cell;
        memcpy(&cell, list.ptr + i * sizeof(cell), sizeof(cell));
        err = -EPROTO;
        if (cell != CLUSTER_CELL && cell < CELL_COUNT && read_record(fd, cell, &record))
            err = read_worker(&record, out->cluster.slot_count, &out->bytes,
                              &out->workers[out->worker_count]);
        /* One that cannot be read is lost; the others are not. */
        out->worker_count += err == 0;
        out->damaged_count += err == -EPROTO;
    }
    buf_fini(&record);
    if (err == -ENOMEM)
        return err;
    size_t at = 0;
    for (int i = 0; i < out->worker_count; i++) {
        out->workers[i].snapshot.ptr = out->bytes.ptr + at;
        at += out->workers[i].snapshot.len;
    }
    return 0;
}

static int load(int fd, struct state *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) ||
        (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return -EPERM;
    struct buf record;
    struct ipc_message message;
    buf_init(&record, CELL_HALF);
    int err = -EPROTO;
    if (read_record(fd, CLUSTER_CELL, &record) &&
        ipc_parse(record.ptr, record.len, &message) == 0) {
        err = read_cluster(&message, out);
        if (err == 0)
            err = read_workers(fd, &message, out);
    }
    buf_fini(&record);
    return err;
}

int state_file_load(const char *path, struct state *out)
{
    memset(out, 0, sizeof(*out));
    buf_init(&out->bytes, CONTRACT_MAX_DOCUMENT);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int err = fd < 0 ? -errno : load(fd, out);
    if (fd >= 0)
        (void)close(fd);
    if (err != 0) {
        state_fini(out);
        memset(out, 0, sizeof(*out));
    }
    return err;
}

void state_fini(struct state *state)
{
    free(state->workers);
    state->workers = NULL;
    state->worker_count = 0;
    buf_fini(&state->bytes);
}
