// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import CTableflip
import ServiceLifecycle
import Tableflip
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// Answers every connection with this process's id as a HTTP/1.0 response, on a thread of its own, until it is shut
/// down. It registers no reader: both processes may accept for a moment, and each answers what it has accepted.
final class AnswerService: Service {
    private let socket: OwnedDescriptor
    private let stop: WakeUp
    private let generation: Int

    init(_ listener: Listener, generation: Int) throws {
        self.socket = try listener.duplicate()
        self.stop = try WakeUp()
        self.generation = generation
    }

    func run() async throws {
        await withTaskCancellationOrGracefulShutdownHandler {
            await onThread { self.serve() }
        } onCancelOrGracefulShutdown: {
            self.stop.signal()
        }
        ServiceProbe.say(self.generation, "answers ended")
    }

    private func serve() {
        while true {
            var poll = Poll<Bool>()
            poll.add(true, self.stop.descriptor, Poll<Bool>.readable)
            poll.add(false, self.socket.borrowed, Poll<Bool>.readable)
            for isStop in poll.wait(nil) {
                if isStop { return }
                self.answer()
            }
        }
    }

    private func answer() {
        let number = accept(self.socket.borrowed, nil, nil)
        guard number >= 0 else { return }
        let connection = OwnedDescriptor(takingOwnershipOf: number)
        tf_set_close_on_exec(number, true)
        var poll = Poll<Bool>()
        poll.add(true, number, Poll<Bool>.readable)
        guard !poll.wait(.seconds(60)).isEmpty else { return }
        var request = [UInt8](repeating: 0, count: 4096)
        guard read(number, &request, request.count) > 0 else { return }
        let body = "\(getpid())\n"
        let answer = Array("HTTP/1.0 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
        _ = write(number, answer, answer.count)
        connection.close()
    }
}

/// A byte in a named pipe, waited for until the task is cancelled.
enum Wait {
    static func forByte(from path: String) async throws {
        let pipe = OwnedDescriptor(takingOwnershipOf: open(path, O_RDWR | O_CLOEXEC))
        let number = pipe.borrowed
        let cancelled = try WakeUp()
        await withTaskCancellationHandler {
            await onThread {
                var poll = Poll<Bool>()
                poll.add(true, number, Poll<Bool>.readable)
                poll.add(false, cancelled.descriptor, Poll<Bool>.readable)
                _ = poll.wait(nil)
            }
        } onCancel: {
            cancelled.signal()
        }
        pipe.close()
        try Task.checkCancellation()
    }
}

/// Runs what waits on a thread of its own.
private func onThread(_ body: @escaping @Sendable () -> Void) async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let work = Unmanaged.passRetained(Work(body: body, continuation: continuation))
        // SAFETY: retained here, released by the thread, exactly once.
        if tf_start_thread(runWork, work.toOpaque(), "work") != 0 { fatalError("no thread") }
    }
}

private final class Work: Sendable {
    let body: @Sendable () -> Void
    let continuation: CheckedContinuation<Void, Never>

    init(body: @escaping @Sendable () -> Void, continuation: CheckedContinuation<Void, Never>) {
        self.body = body
        self.continuation = continuation
    }
}

private func runWork(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `onThread` retained.
    let work = Unmanaged<Work>.fromOpaque(context).takeRetainedValue()
    work.body()
    work.continuation.resume()
}
#endif
