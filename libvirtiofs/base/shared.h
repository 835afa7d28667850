/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_BASE_SHARED_H
#define VTFS_BASE_SHARED_H
/*
 * The only loads and stores of memory that a peer can change at any moment.
 * A load gives a private copy: check that copy, use that copy, and never load
 * the same thing twice.
 */

/* One load that the compiler neither repeats nor tears. */
#define vtfs_load_once(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define vtfs_store_once(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

/* What the peer stored before its release is visible after this load. */
#define vtfs_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
/* What was stored before is visible to the peer that acquires v. */
#define vtfs_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

/* Orders earlier stores before later loads; say at each use which ones. */
#define vtfs_fence_full() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* Orders earlier stores to memory before a later store to a device's register,
 * for devices that are not ordered as CPUs are (VIRTIO_F_ORDER_PLATFORM). */
#if defined(__x86_64__)
#define vtfs_fence_dma() __asm__ volatile("sfence" ::: "memory")
#elif defined(__aarch64__)
#define vtfs_fence_dma() __asm__ volatile("dsb st" ::: "memory")
#else
#define vtfs_fence_dma() __sync_synchronize()
#endif

/* Polite busy waiting. */
#if defined(__x86_64__) || defined(__i386__)
#define vtfs_cpu_relax() __builtin_ia32_pause()
#else
#define vtfs_cpu_relax() __asm__ volatile("" ::: "memory")
#endif
#endif
