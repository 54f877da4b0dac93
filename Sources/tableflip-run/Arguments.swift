// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What the command line says. By hand: a library for it would be larger than the rest of the program, which stays in
/// memory for as long as the service runs.
enum Arguments {
    struct Plan {
        /// From its name on: bytes, which need not be UTF-8, to be passed on exactly.
        var program: [[UInt8]]
        /// How long to wait for what is left when the process in charge has ended.
        var patience = Duration.seconds(60)
    }

    struct Mistake: Error {
        var words: String
    }

    case run(Plan)
    case words(String)

    static let usage = "tableflip-run [--wait SECONDS] -- PROGRAM [ARGUMENT …]"

    private static let help = """
        \(Self.usage)

        Runs PROGRAM and stays, with the same process id, while PROGRAM replaces its own process. Linux only.

        It passes signals on to the process in charge, reaps whatever ends, and passes notifications on to the service
        manager that started it, if there is one (NOTIFY_SOCKET); but no sockets that this opened, and nothing to store.
        It ends when everything that it started has, with the status of the process that was in charge last: 128 and the
        number of the signal, where a signal ended it; 1, where another process has reaped it and the kernel does not
        tell.

          --wait SECONDS   how long to wait for other processes when the one in charge has ended (60); then they are
                           killed
          --help           this text

        Statuses of its own: 64 for a mistake on the command line, 71 where the system refused something, 126 for a
        PROGRAM that cannot be executed, 127 for one that is not there.

        """

    init(_ arguments: ArraySlice<[UInt8]>) throws(Mistake) {
        var rest = arguments
        var plan = Plan(program: [])
        // What this program itself reads, it can read as words.
        func next() -> String? { rest.popFirst().map { String(decoding: $0, as: UTF8.self) } }
        while let flag = next() {
            switch flag {
            case "--help", "-h":
                self = .words(Self.help)
                return
            case "--wait":
                guard let text = next(), let seconds = Int(text), (0...86_400).contains(seconds) else {
                    throw Mistake(words: "--wait takes a number of seconds, 0 to 86400")
                }
                plan.patience = .seconds(seconds)
            case "--":
                guard let program = rest.first, !program.isEmpty else {
                    throw Mistake(words: "after -- comes the program to run")
                }
                plan.program = Array(rest)
                self = .run(plan)
                return
            default:
                throw Mistake(
                    words: flag.hasPrefix("-") ? "there is no flag \(flag)" : "the program \(flag) comes after --")
            }
        }
        throw Mistake(words: "no program is named")
    }
}
