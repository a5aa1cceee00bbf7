/* SPDX-License-Identifier: BSD-2-Clause
 *
 * secret - comparing tokens without telling how much of them was right.
 */
#include "common/secret.h"

bool secret_equal(struct slice given, struct slice secret)
{
    if (secret.len == 0 || given.len != secret.len)
        return false;
    /* volatile: the compiler must not end the loop at the first difference. */
    volatile unsigned char difference = 0;
    for (size_t i = 0; i < secret.len; i++)
        difference |= (unsigned char)(given.ptr[i] ^ secret.ptr[i]);
    return difference == 0;
}

bool secret_check_bearer(struct slice authorization, struct slice secret)
{
    const struct slice scheme = SLICE_LITERAL("Bearer ");

    /* The scheme's case does not matter, and one or more spaces follow it (RFC 9110 section 11.4).
     */
    if (authorization.len < scheme.len ||
        !slice_equal_nocase(slice_from(authorization.ptr, scheme.len), scheme))
        return false;
    struct slice token = slice_from(authorization.ptr + scheme.len, authorization.len - scheme.len);
    while (token.len > 0 && token.ptr[0] == ' ') {
        token.ptr++;
        token.len--;
    }
    return secret_equal(token, secret);
}
