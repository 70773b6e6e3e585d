/* The internet checksum. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* RFC 1071, over at most 2^32 words of network byte order; an odd byte at the end is the first of a word. In host byte
 * order. 0 where the right checksum is among the bytes. */
static inline uint16_t clinux_checksum(const void *bytes, size_t count)
{
	const uint8_t *byte = (const uint8_t *)bytes;
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += (uint32_t)byte[i] << (i & 1 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}
