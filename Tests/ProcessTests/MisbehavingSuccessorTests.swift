// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

/// What a successor does, and what the upgrade fails with.
struct Misdeed: Hashable, Sendable, CustomTestStringConvertible {
    var testDescription: String
    var behaviour: String
    var code: String

    init(_ name: String, _ behaviour: String, _ code: String) {
        self.testDescription = name
        self.behaviour = behaviour
        self.code = code
    }

    static let ends = [
        Misdeed("exits with 0", "exit 0", "successorExited"),
        Misdeed("exits with 3", "exit 3", "successorExited"),
        Misdeed("is ended by SIGKILL", "kill 9", "successorKilled"),
        Misdeed("is ended by SIGTERM", "kill 15", "successorKilled"),
        Misdeed("exits with 0 while it initialises", "late-exit 0", "successorExited"),
        Misdeed("exits with 7 while it initialises", "late-exit 7", "successorExited"),
        Misdeed("is ended by SIGKILL while it initialises", "late-kill 9", "successorKilled"),
    ]

    static let hangs = [
        Misdeed("hangs", "hang", "successorTimedOut"),
        Misdeed("is stopped", "kill 19", "successorTimedOut"),
        Misdeed("hangs while it initialises", "late-hang", "successorTimedOut"),
        Misdeed("is stopped while it initialises", "late-kill 19", "successorTimedOut"),
        Misdeed("sends half a frame and hangs", "send 544601", "successorTimedOut"),
    ]

    static let words = [
        Misdeed("sends garbage", "send \(String(repeating: "5a", count: 100))", "successorMisbehaved"),
        Misdeed("sends a huge length", "send \(Frame.hex(1, length: .max))", "successorMisbehaved"),
        Misdeed("sets reserved flags", "send \(Frame.hex(1, flags: 0x80))", "successorMisbehaved"),
        Misdeed("sets reserved bits", "send \(Frame.hex(1, reserved: 1))", "successorMisbehaved"),
        Misdeed("claims too many descriptors", "send \(Frame.hex(1, descriptors: 254))", "successorMisbehaved"),
        Misdeed("sends an unknown message", "send \(Frame.hex(200))", "successorMisbehaved"),
        Misdeed("sends ready for hello", "send \(Frame.hex(3, Frame.ready(claimed: [])))", "successorMisbehaved"),
        Misdeed("commits for hello", "send \(Frame.hex(6))", "successorMisbehaved"),
        Misdeed(
            "says hello without a descriptor", "send \(Frame.hex(1, Frame.hello(versions: 1, 1)))",
            "successorMisbehaved"
        ),
        Misdeed(
            "says hello without its descriptor", "send \(Frame.hex(1, Frame.hello(versions: 1, 1), descriptors: 1))",
            "successorMisbehaved"
        ),
        Misdeed(
            "says hello with two descriptors",
            "send-with-descriptors \(Frame.hex(1, Frame.hello(versions: 1, 1), descriptors: 1))", "successorMisbehaved"
        ),
        Misdeed(
            "has its versions the wrong way round",
            "send-with-descriptor \(Frame.hex(1, Frame.hello(versions: 2, 1), descriptors: 1))", "successorMisbehaved"
        ),
        Misdeed(
            "is too new", "send-with-descriptor \(Frame.hex(1, Frame.hello(versions: 7, 9), descriptors: 1))",
            "versionMismatch"
        ),
        Misdeed("sends garbage after hello", "late-send 00000000000000000000000000", "successorMisbehaved"),
        Misdeed("commits before it is ready", "late-send \(Frame.hex(6))", "successorMisbehaved"),
        Misdeed(
            "acknowledges what was not sent", "late-send \(Frame.hex(10, Frame.acknowledgement(4711)))",
            "successorMisbehaved"
        ),
        Misdeed(
            "claims to hold what it does not", "late-send \(Frame.hex(3, Frame.ready(claimed: [1])))",
            "inventoryMismatch"
        ),
        Misdeed(
            "is ready with less than there is", "late-send \(Frame.hex(3, Frame.ready(claimed: [])))",
            "successorMisbehaved"
        ),
        Misdeed("closes the channel and lives on", "close-channel", "successorClosedChannel"),
        Misdeed(
            "closes the channel while it initialises and lives on", "late-close-channel", "successorClosedChannel"
        ),
        Misdeed(
            "exits inside a frame", "listen-send-and-exit \(Frame.hex(1, length: 40))", "successorExited"
        ),
        Misdeed(
            "exits after a message that may be passed over", "listen-send-and-exit \(Frame.hex(200, flags: 1))",
            "successorExited"
        ),
    ]
}

@Suite(.fewAtATime)
struct MisbehavingSuccessorTests {
    @Test(arguments: [Variant.plain, .portableReader], Misdeed.ends + Misdeed.words)
    func `A successor that misbehaves is known by what it did, long before it is late`(
        _ variant: Variant, _ misdeed: Misdeed
    ) async throws {
        // Nobody waits that long here.
        try await Server.with(variant, ["--upgrade-timeout", "600000"]) { server in
            try await server.unharmed {
                try server.misbehave(misdeed.behaviour)
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed")
                #expect(outcome.code == misdeed.code)
            }
        }
    }

    /// One that may take two seconds. The next one, which must succeed, has as long as any other.
    private func shortUpgrade(_ server: Server) async throws -> Server.Outcome {
        let mark = server.mark
        #expect(try await Ctl.run(server, "upgrade", "--timeout", "2s").status == 1)
        return try await server.outcome(of: server.current, from: mark)
    }

    @Test(arguments: [Variant.plain, .portableReader], Misdeed.hangs)
    func `A successor that hangs is killed when its time is over`(_ variant: Variant, _ misdeed: Misdeed) async throws {
        try await Server.controlled(variant) { server in
            try await server.unharmed {
                try server.misbehave(misdeed.behaviour)
                let began = ContinuousClock.now
                let outcome = try await self.shortUpgrade(server)
                #expect(outcome.phase == "failed")
                #expect(outcome.code == misdeed.code)
                #expect(ContinuousClock.now - began >= .milliseconds(1990), "\(server.transcript)")
            }
        }
    }

    @Test(arguments: Variant.all)
    func `However the service runs, a successor's crash harms nobody`(_ variant: Variant) async throws {
        try await Server.with(variant) { server in
            try await server.unharmed {
                try server.misbehave("late-exit 3")
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed" && outcome.code == "successorExited")
            }
            try await server.unharmed {
                try server.misbehave("kill 9")
                let outcome = try await server.upgrade()
                #expect(variant.codesOfAKill.contains(outcome.code), "\(outcome)")
            }
        }
    }

    @Test(arguments: Variant.all)
    func `However the service runs, a successor that hangs harms nobody`(_ variant: Variant) async throws {
        try await Server.controlled(variant) { server in
            try await server.unharmed {
                try server.misbehave("late-hang")
                let outcome = try await self.shortUpgrade(server)
                #expect(outcome.phase == "failed" && outcome.code == "successorTimedOut")
                #expect(await server.eventually { ProcessFacts.state(of: outcome.peer) == nil })
            }
        }
    }

    @Test
    func `Behind a shell, a successor that never spoke is not known and harms nobody`() async throws {
        try await Server.controlled(.wrapped) { server in
            try await server.unharmed(leavingOrphans: 1) {
                try server.misbehave("hang")
                let outcome = try await self.shortUpgrade(server)
                #expect(outcome.code == "successorTimedOut")
                // The shell is dead. What it had started said nothing by which the library could know it.
                #expect(await server.eventually { ProcessFacts.state(of: outcome.peer) == nil })
            }
        }
    }
}
