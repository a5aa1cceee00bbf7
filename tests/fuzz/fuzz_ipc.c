/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuzz_ipc - whatever arrives on the control socket is refused or read within
 * its bounds.
 */
#include "common/ipc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ipc_message message;
    if (ipc_parse(data, size, &message) != 0)
        return 0;
    for (int field = 0; field < 32; field++) {
        uint32_t u32;
        uint64_t u64;
        struct slice bytes;
        struct slot_set set;
        char text[32];
        (void)ipc_get_u32(&message, (enum message_field)field, &u32);
        (void)ipc_get_u64(&message, (enum message_field)field, &u64);
        (void)ipc_get_slots(&message, (enum message_field)field, &set);
        if (ipc_get_str(&message, (enum message_field)field, text, sizeof(text)))
            CHECK(strlen(text) < sizeof(text));
        if (ipc_get_bytes(&message, (enum message_field)field, &bytes))
            CHECK(bytes.len == 0 || (bytes.ptr >= (const char *)data &&
                                     bytes.ptr + bytes.len <= (const char *)data + size));
    }
    CHECK(ipc_message_name(message.type) != NULL);
    return 0;
}
