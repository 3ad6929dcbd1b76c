//! How peers are configured: one thread each, no log of requests, and as cheap as each can be.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::ask::{connect, read_head};
use crate::subject::Running;
use crate::watch::path_of;

pub(crate) fn haproxy(source: SocketAddr, viewers: SocketAddr, splicing: &str) -> String {
    format!(
        "global\n nbthread 1\n maxconn 4096\n maxpipes 4096\n\
         defaults\n mode tcp\n option {splicing}\n timeout connect 5s\n timeout client 30s\n \
         timeout server 30s\n\
         listen relay\n bind {viewers} backlog 4096\n server source {source}\n"
    )
}

pub(crate) fn nginx(source: SocketAddr, viewers: SocketAddr, dir: &Path) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!(" {what}_temp_path {what};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log {}/error.log;\n\
         worker_rlimit_nofile 16384;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n access_log off;\n tcp_nodelay on;\n{temporary} server {{\n \
         listen {viewers} backlog=4096;\n location / {{\n proxy_pass http://{source};\n \
         proxy_buffering off;\n chunked_transfer_encoding off;\n }} }} }}\n",
        dir.display()
    )
}

/// The password of the source, who is the only one to know the port.
const PASSWORD: &str = "bench";

pub(crate) fn icecast(viewers: SocketAddr, dir: &Path) -> String {
    let dir = dir.display();
    let (ip, port) = (viewers.ip(), viewers.port());
    // As root it refuses to run, unless it is told whom to become.
    format!(
        "<icecast><location>bench</location><admin>bench@localhost</admin>\
         <limits><clients>8192</clients><sources>2</sources>\
         <queue-size>4194304</queue-size><burst-size>0</burst-size></limits>\
         <authentication><source-password>{PASSWORD}</source-password></authentication>\
         <hostname>bench</hostname>\
         <listen-socket><port>{port}</port><bind-address>{ip}</bind-address></listen-socket>\
         <paths><basedir>{dir}</basedir><logdir>{dir}/log</logdir>\
         <webroot>{dir}</webroot><adminroot>{dir}</adminroot></paths>\
         <logging><accesslog>access</accesslog><errorlog>error</errorlog>\
         <loglevel>1</loglevel></logging>\
         <security><chroot>0</chroot><changeowner><user>nobody</user><group>nogroup</group>\
         </changeowner></security></icecast>"
    )
}

/// The connection that an Icecast takes a stream from.
pub(crate) fn put(running: &Running) -> io::Result<TcpStream> {
    let mut socket = connect(&running.child, running.viewers)?;
    // base64 of source:bench
    let request = format!(
        "PUT {} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic c291cmNlOmJlbmNo\r\n\
         Content-Type: video/mp2t\r\nIce-Public: 0\r\nExpect: 100-continue\r\n\r\n",
        path_of(0)
    );
    socket.write_all(request.as_bytes())?;
    let head = read_head(&mut socket)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if ["100", "200"].contains(&status) {
        Ok(socket)
    } else {
        Err(io::Error::other(format!("Icecast does not take a source: {head}")))
    }
}
