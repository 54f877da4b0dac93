// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Synchronization
import Tableflip
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// Lets something go wrong at a step of the handshake, in the process that gets there first. A file with the name of the
/// step, such as `successor takeOwnership`, says what, in words of `Fault`, one after the other; whoever takes it removes
/// it.
final class Faults: Sendable {
    /// How long a shortage lasts.
    static let duration: useconds_t = 300_000

    static let staysForEver = Mutex(false)
    static let neverPauses = Mutex(false)
    static let slowsHooks = Mutex(false)
    static func wait() async { try? await Task.sleep(for: .seconds(3600)) }

    private let directory: String
    let upgrader: Mutex<Upgrader?> = Mutex(nil)

    init(directory: String) { self.directory = directory }

    var trial: EngineTrial {
        var trial = EngineTrial()
        trial.atStep = { self.meet($0, $1) }
        return trial
    }

    private func meet(_ step: EngineStep, _ channel: ChannelSocket?) {
        // What may end a process with all that it has accepted is told, for those who count.
        if [.predecessor(.killSuccessor), .predecessor(.exitNow), .successor(.exitNow)].contains(step) {
            Probe.say(0, "step \(step)")
        }
        let path = "\(self.directory)/\(step)"
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        let file = OwnedDescriptor(takingOwnershipOf: descriptor)
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(file.borrowed, &bytes, bytes.count)
        file.close()
        guard unlink(path) == 0 else { return }
        for word in String(decoding: bytes[..<max(0, count)], as: UTF8.self).split(separator: " ") {
            Probe.say(0, "fault \(step) \(word)")
            self.commit(Fault(rawValue: String(word)), channel)
        }
    }

    private func commit(_ fault: Fault?, _ channel: ChannelSocket?) {
        switch fault {
        case .kill:
            kill(getpid(), SIGKILL)
            // It may arrive on another thread first.
            while true { pause() }
        case .stop: raise(SIGSTOP)
        case .delay: usleep(Self.duration)
        case .descriptors: Shortage.ofDescriptors.begin()
        case .room: Shortage.ofRoom.begin()
        case .channel: if let channel { shutdown(channel.descriptor, CInt(SHUT_RDWR)) }
        case .trickle: channel?.bytesPerCall = 1
        case .interrupts: Interrupts.begin()
        case .terminate: kill(getpid(), SIGTERM)
        case .rollBack:
            let upgrader = self.upgrader.withLock { $0 }
            Task { try? await upgrader?.rollBack(because: "not today") }
        case .noPause: Self.neverPauses.withLock { $0 = true }
        case .slowHook: Self.slowsHooks.withLock { $0 = true }
        case .stay: Self.staysForEver.withLock { $0 = true }
        case .sayOptional, .sayRequired: if let channel { Self.say(channel, isOptional: fault == .sayOptional) }
        case nil: fatalError("what fault?")
        }
    }

    private enum Fault: String {
        case kill
        case stop
        /// The engine's thread does nothing for a while.
        case delay
        /// No more descriptors for a while (EMFILE).
        case descriptors
        /// No file can grow for a while (EFBIG, as on a full disk).
        case room
        /// The channel is shut down in both directions (EPIPE, and the end of what can be read).
        case channel
        /// Every read and write of the channel is of one byte.
        case trickle
        /// For a while signals interrupt whatever the engine's thread waits for (EINTR).
        case interrupts
        case terminate
        case rollBack = "roll-back"
        /// Readers do not pause.
        case noPause = "no-pause"
        /// To become the owner takes a while.
        case slowHook = "slow-hook"
        /// Main does not return.
        case stay
        /// A message of a kind that does not exist yet, which may be passed over, or not.
        case sayOptional = "say-optional"
        case sayRequired = "say-required"
    }

    private static func say(_ channel: ChannelSocket, isOptional: Bool) {
        let bytes: [UInt8] = [0x54, 0x46, 200, isOptional ? 1 : 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3]
        _ = tf_send(channel.descriptor, bytes, bytes.count, nil, 0)
    }
}

/// Something of which there is no more for a while.
private enum Shortage {
    case ofDescriptors
    case ofRoom

    #if canImport(Glibc)
    typealias Resource = __rlimit_resource_t
    private static let descriptors = Resource(RLIMIT_NOFILE.rawValue)
    private static let room = Resource(RLIMIT_FSIZE.rawValue)
    #else
    typealias Resource = CInt
    private static let descriptors = RLIMIT_NOFILE
    private static let room = RLIMIT_FSIZE
    #endif

    func begin() {
        switch self {
        case .ofDescriptors:
            let relief = Relief(Self.descriptors, limit: 64)
            while case let number = fcntl(0, F_DUPFD_CLOEXEC, 0), number >= 0 {
                relief.held.append(OwnedNumber(takingOwnershipOf: number))
            }
            relief.come()
        case .ofRoom:
            signal(SIGXFSZ, SIG_IGN)
            Relief(Self.room, limit: 0).come()
        }
    }

    /// For an array, which takes nothing that cannot be copied.
    fileprivate final class OwnedNumber {
        private let descriptor: OwnedDescriptor
        init(takingOwnershipOf number: CInt) { self.descriptor = OwnedDescriptor(takingOwnershipOf: number) }
    }

    final class Relief {
        private let resource: Resource
        private var before = rlimit()
        fileprivate var held: [OwnedNumber] = []

        init(_ resource: Resource, limit: rlim_t) {
            self.resource = resource
            guard getrlimit(resource, &self.before) == 0 else { fatalError("getrlimit") }
            var short = self.before
            short.rlim_cur = min(limit, short.rlim_cur)
            guard setrlimit(resource, &short) == 0 else { fatalError("setrlimit") }
        }

        func come() {
            let box = Unmanaged.passRetained(self)
            // SAFETY: retained here, released by the thread, exactly once; nobody else uses it from here on.
            if tf_start_thread(relieve, box.toOpaque(), "relief") != 0 { fatalError("no thread") }
        }

        fileprivate func run() {
            usleep(Faults.duration)
            self.held = []
            setrlimit(self.resource, &self.before)
            Probe.say(0, "relief")
        }
    }
}

private func relieve(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `come` retained.
    Unmanaged<Shortage.Relief>.fromOpaque(context).takeRetainedValue().run()
}

/// Signals to one thread, many a millisecond, that do nothing but interrupt its system calls.
private final class Interrupts {
    #if canImport(Glibc)
    private let thread: CInt
    #else
    private let thread: pthread_t
    #endif

    /// The thread that calls this is the one.
    static func begin() {
        // poll(2) never goes on by itself (signal(7)).
        signal(SIGUSR1) { _ in }
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGUSR1)
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
        let box = Unmanaged.passRetained(Interrupts())
        // SAFETY: retained here, released by the thread, exactly once; nobody else uses it from here on.
        if tf_start_thread(interrupt, box.toOpaque(), "interrupts") != 0 { fatalError("no thread") }
    }

    private init() {
        #if canImport(Glibc)
        // By its number, which may be signalled when it has ended (unlike a pthread_t). Swift does not import it.
        typealias GetTID = @convention(c) () -> CInt
        guard let symbol = dlsym(nil, "gettid") else { fatalError("gettid") }
        // SAFETY: gettid(2) takes nothing and returns a number.
        self.thread = unsafeBitCast(symbol, to: GetTID.self)()
        #else
        self.thread = pthread_self()
        #endif
    }

    fileprivate func run() {
        #if canImport(Glibc)
        typealias Signal = @convention(c) (CInt, CInt, CInt) -> CInt
        guard let symbol = dlsym(nil, "tgkill") else { fatalError("tgkill") }
        // SAFETY: tgkill(2) takes process, thread and signal.
        let send = unsafeBitCast(symbol, to: Signal.self)
        #endif
        for _ in 0..<(Faults.duration / 100) {
            #if canImport(Glibc)
            _ = send(getpid(), self.thread, SIGUSR1)
            #else
            pthread_kill(self.thread, SIGUSR1)
            #endif
            usleep(100)
        }
    }
}

private func interrupt(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `begin` retained.
    Unmanaged<Interrupts>.fromOpaque(context).takeRetainedValue().run()
}
