//! A TCP echo with tokio: one task a connection, one thread running them.
//!
//! usage: tokio_echo PORT     serves on 127.0.0.1:PORT until SIGTERM or SIGINT
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::io::AsRawFd;
use std::process::exit;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{signal, Signal, SignalKind};

const BUFFER_BYTES: usize = 64 * 1024;
const BACKLOG: u32 = 4096;

async fn echo(mut stream: TcpStream) {
    // Not cleared: only what is used becomes resident.
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    while matches!(stream.read_buf(&mut buffer).await, Ok(size) if size > 0) {
        if stream.write_all(&buffer).await.is_err() {
            return;
        }
        buffer.clear();
    }
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(echo(stream));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                eprintln!("tokio_echo: accept: {error}");
                exit(1);
            }
        }
    }
}

async fn exit_on(mut signal: Signal) {
    signal.recv().await;
    exit(0);
}

fn lift_fd_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a limit that lives as long as they do.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Inherited by what the listener accepts. Older releases of tokio have no call for a TcpSocket.
fn no_delay(socket: &TcpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int, as large as it is said to be.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            std::ptr::addr_of!(on).cast(),
            std::mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

async fn serve(port: u16) -> io::Result<()> {
    lift_fd_limit();
    let terminated = signal(SignalKind::terminate())?;
    let interrupted = signal(SignalKind::interrupt())?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    no_delay(&socket)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = socket.listen(BACKLOG)?;
    println!("listening {}", listener.local_addr()?.port());
    tokio::spawn(accept(listener));
    tokio::spawn(exit_on(interrupted));
    exit_on(terminated).await;
    Ok(())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|text| text.parse().ok());
    let port = match (port, arguments.next()) {
        (Some(port), None) => port,
        _ => {
            eprintln!("usage: tokio_echo PORT");
            exit(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Err(error) = runtime.and_then(|runtime| runtime.block_on(serve(port))) {
        eprintln!("tokio_echo: {error}");
        exit(1);
    }
}
