/* The internet checksum. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* The checksum of RFC 1071, in host byte order, over at most 2^32 words in network byte order. An odd last byte is
 * the first byte of a word. The result is 0 if the bytes contain their correct checksum. */
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
