/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_watch - the boards on which workers beat.
 */
#include "master/master_private.h"

#include "common/board.h"
#include "common/log.h"

#include <errno.h>
#include <unistd.h>

/* ---- boards ---- */

void master_drop_board(struct worker *worker)
{
    board_unmap(worker->board);
    worker->board = NULL;
}

void master_send_board(struct master *master, struct worker *worker)
{
    master_drop_board(worker);
    if (worker->contract < 2)
        return;
    int fd = board_new();
    worker->board = fd >= 0 ? board_map_readonly(fd) : NULL;
    if (worker->board == NULL) {
        log_warning("no board for a worker, its reports have to do", LOG_INT("slot", worker->slot),
                    LOG_ERR(fd < 0 ? fd : -ENOMEM));
    } else {
        ipc_begin(&master->message, MESSAGE_BOARD);
        master_send(master, worker, &fd, 1);
    }
    if (fd >= 0)
        (void)close(fd);
}
