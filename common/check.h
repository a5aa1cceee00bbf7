/* SPDX-License-Identifier: BSD-2-Clause
 *
 * check - the assertion for our own bugs: prints and aborts, in every build.
 *
 * Never for what the world or a peer can cause; those have error paths.
 */
#ifndef MUSTER_CHECK_H
#define MUSTER_CHECK_H

_Noreturn void check_failed(const char *file, int line, const char *condition);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MUST_USE __attribute__((warn_unused_result))

#endif
